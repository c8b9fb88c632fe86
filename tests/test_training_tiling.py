"""Tiled inference gives the logits of the whole image, for every network, stride and size of image."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn

from odenet import group_norm
from odenet.measure import Reach, reach
from odenet.models import backbone_of, cifar_resnet, deconvnet, fcn, fcn8s, plain_backbone, unet
from odenet.models.resnet import residual_flow
from odenet.training import segment
from odenet.training.tiling import tiles


def trained(net: nn.Module) -> nn.Module:
    """Return the network with random scores and statistics, in float64."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter)
    net.double()(torch.randn(2, 2, 40, 40, dtype=torch.float64))
    return net


NETS = {
    "full resolution": lambda: fcn(3, 2, width=3, blocks=2),
    "U-Net": lambda: unet(3, 2, widths=(2, 3, 4)),
    "mirrored U-Net": lambda: unet(3, 2, widths=(2, 3), borders="mirrored"),
    "U-Net of flows": lambda: unet(3, 2, widths=(2, 3), flow=residual_flow, norm=nn.BatchNorm2d),
    "DeconvNet": lambda: deconvnet(3, 2, stages=[(2,), (3,)], hidden=4, window=3),
    "FCN-8s": lambda: fcn8s(3, 2, backbone=plain_backbone([(2,), (2,), (3,)], 2)),
    "FCN-8s on a ResNet": lambda: fcn8s(3, 2, backbone=backbone_of(cifar_resnet(1, in_channels=2, widths=(2, 3, 3)))),
}


@pytest.mark.parametrize("name", NETS)
def test_tile_by_tile_the_logits_are_those_of_the_whole_image(name):
    net = trained(NETS[name]())
    image = torch.randn(2, 81, 130, dtype=torch.float64)
    with torch.no_grad():
        whole = net.eval()(image[None])[0]
    assert whole.std() > 1e-3
    around, sizes = reach(net, 2), set()
    net.register_forward_hook(lambda _, images, __: sizes.add(tuple(images[0].shape[2:])))
    torch.testing.assert_close(segment(net, image, tile=72, quiet=True), whole, rtol=0, atol=1e-10)
    assert (72 - (72 - 81) % around.stride, 72 - (72 - 130) % around.stride) in sizes
    assert (81, 130) not in sizes


@pytest.mark.parametrize("size", [(1, 1), (7, 513), (200, 1)])
def test_narrow_images_are_segmented_too(size):
    net = trained(NETS["U-Net"]())
    image = torch.randn(2, *size, dtype=torch.float64)
    with torch.no_grad():
        whole = net.eval()(image[None])[0]
    torch.testing.assert_close(segment(net, image, tile=64, quiet=True), whole, rtol=0, atol=1e-10)


def test_with_less_overlap_than_the_field_needs_it_is_another_answer():
    net = trained(NETS["U-Net"]())
    image = torch.randn(2, 100, 100, dtype=torch.float64)
    with torch.no_grad():
        whole = net.eval()(image[None])[0]
    difference = (segment(net, image, tile=40, overlap=2, quiet=True) - whole).abs()
    assert difference.max() > 1e-6
    assert (difference < 1e-10).double().mean() > 0.1


def test_a_batch_is_segmented_together_and_modes_are_left():
    net = trained(NETS["full resolution"]())
    images = torch.randn(3, 2, 50, 40, dtype=torch.float64)
    found = segment(net, images, tile=30, quiet=True)
    assert found.shape == (3, 3, 50, 40)
    torch.testing.assert_close(found[1], segment(net, images[1], tile=64, quiet=True), rtol=0, atol=1e-10)
    assert net.training


@pytest.mark.parametrize("around", [Reach(1, 0, 0), Reach(1, 3, 5), Reach(8, 9, 4), Reach(3, 2, 2)])
@pytest.mark.parametrize("side", [1, 40, 41, 97, 200])
def test_every_pixel_is_kept_once_and_sees_what_it_needs(side, around):
    made = tiles(side, 40, around)
    kept = [pixel for tile in made for pixel in range(side)[tile.kept]]
    assert kept == list(range(side))
    for tile in made:
        assert tile.seen.start % around.stride == 0
        assert tile.seen.stop - tile.seen.start <= 40
        assert (tile.seen.stop - tile.seen.start - side) % around.stride == 0
        assert tile.seen.start == 0 or tile.kept.start - tile.seen.start >= around.before
        assert tile.seen.stop == side or tile.seen.stop - tile.kept.stop >= around.after


def test_progress_is_shown_unless_it_is_not_wanted(capsys):
    net, image = nn.Conv2d(1, 2, 1), torch.zeros(1, 20, 20)
    segment(net, image, tile=10, quiet=True)
    assert capsys.readouterr().out == ""
    segment(net, image, tile=10)
    assert "tiles  4/4" in capsys.readouterr().out


@pytest.mark.parametrize("tile", [3, 7])
def test_a_tile_smaller_than_the_stride_is_refused_with_one_that_would_do(tile):
    net, image = trained(unet(2, 2, widths=(2, 2, 2, 2))), torch.zeros(2, 100, 100).double()
    message = rf"tile must be at least (\d+) pixels, got {tile}: the network has stride 8, "
    with pytest.raises(ValueError, match=message) as found:
        segment(net, image, tile=tile, quiet=True)
    least = int(re.findall(r"at least (\d+) pixels", str(found.value))[0])
    assert segment(net, image, tile=least, quiet=True).shape == (2, 100, 100)


def test_an_image_with_nan_pixels_is_refused_with_their_place():
    image = torch.zeros(3, 8, 9)
    image[1, 4, 5] = float("nan")
    with pytest.raises(ValueError, match=re.escape("got 1 pixels that are NaN or infinite, the first at (1, 4, 5)")):
        segment(nn.Conv2d(3, 2, 1), image)


@pytest.mark.parametrize("shape", [(8, 8), (1, 1, 3, 8, 8), (3, 0, 8)])
def test_an_image_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=re.escape(f"without empty axes, got {shape}")):
        segment(nn.Conv2d(3, 2, 1), torch.zeros(shape))


@pytest.mark.parametrize("image", [None, [[0.0]], np.zeros((3, 8, 8))], ids=["None", "list", "ndarray"])
def test_what_is_no_image_or_no_network_is_refused(image):
    with pytest.raises(TypeError, match=f"image must be a tensor of floats, got {type(image).__name__}"):
        segment(nn.Conv2d(3, 2, 1), image)
    with pytest.raises(TypeError, match=r"model must be .*, got .*the class Conv2d\)"):
        segment(nn.Conv2d, torch.zeros(3, 8, 8))  # pyright: ignore[reportArgumentType]


def test_an_image_of_bytes_is_refused():
    with pytest.raises(TypeError, match=r"image must be a tensor of floats, got torch.uint8: pass it as in training"):
        segment(nn.Conv2d(3, 2, 1), torch.zeros(3, 8, 8, dtype=torch.uint8))


def test_an_image_of_other_channels_than_the_networks_is_refused():
    with pytest.raises(ValueError, match=r"it takes \(batch, 2, height, width\)"):
        segment(NETS["U-Net"](), torch.zeros(3, 8, 8), quiet=True)


def test_a_network_that_answers_for_fewer_pixels_is_refused():
    message = r"must keep the size of images, got \(6, 6\) pixels from Conv2d for a tile of \(8, 8\)"
    with pytest.raises(ValueError, match=message):
        segment(nn.Conv2d(3, 2, 3), torch.zeros(3, 8, 8), overlap=1, stride=1, quiet=True)


@pytest.mark.parametrize(("option", "value"), [("tile", 0), ("overlap", -1)])
def test_counts_that_are_none_are_refused(option, value):
    with pytest.raises(ValueError, match=f"{option} must be .*, got {value}"):
        segment(nn.Conv2d(3, 2, 1), torch.zeros(3, 8, 8), **{option: value})


def test_a_network_that_sees_the_whole_image_is_refused_and_approximated_on_request():
    net, image = fcn(2, 1, width=2, blocks=1, norm=group_norm), torch.randn(1, 60, 60)
    with pytest.raises(ValueError, match="then the receptive field cannot be measured"):
        segment(net, image, tile=40, quiet=True)
    assert segment(net, image, tile=40, overlap=8, quiet=True).shape == (2, 60, 60)
