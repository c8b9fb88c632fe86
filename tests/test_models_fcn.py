"""FCNs have the published sizes, return logits aligned with the image, and start with skips that contribute zero."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from odenet import Adaptive, FixedSteps, ODEBlock, PiecewiseLinear, configure, group_norm
from odenet.layers import bilinear_kernel
from odenet.layers.grid import Grid
from odenet.measure import count_parameters
from odenet.models import (
    FCN,
    Backbone,
    ResNet,
    alexnet,
    alexnet_towers,
    backbone_of,
    cifar_resnet,
    fcn,
    fcn8s,
    fcn16s,
    fcn32s,
    googlenet,
    googlenet_bn,
    plain_backbone,
    resnet18,
    vgg16,
    with_skip,
)
from odenet.models.fcn import Interpolation
from odenet.training import WeightsError, load_weights, save_weights
from tests.network_cases import share_random_weights

FAMILY = [fcn32s, fcn16s, fcn8s]
SIZES = [(1, 1), (7, 513), (33, 64), (96, 96)]


def means(*layers: nn.AvgPool2d) -> Backbone:
    """Build a backbone that only averages, so that it maps an image of coordinates to those of the pixel centres."""
    grids = [Grid()]
    for layer in layers:
        grids.append(grids[-1].through(layer))
    return Backbone(layers, [1] * len(layers), grids[1:], 1)


def listening(net: FCN) -> FCN:
    """Set all scores of the net to the maps themselves."""
    for score in net.scores:
        nn.init.ones_(weight(score))
    return net


def weight(module: nn.Module) -> nn.Parameter:
    """Return the first parameter of a module."""
    return next(module.parameters())


def small_resnet() -> ResNet:
    return cifar_resnet(2, widths=(4, 6, 8), stem_stride=2)


def test_fcn_32s_has_the_published_sizes():
    with torch.device("meta"):
        assert count_parameters(fcn32s()) == 134_346_581
        assert count_parameters(fcn32s(backbone=alexnet_towers())) == 56_954_261
        assert count_parameters(fcn32s(backbone=googlenet(auxiliary=None))) == 5_995_077  # "6M"


def test_a_skip_costs_its_scores_and_its_interpolation():
    with torch.device("meta"):
        sizes = [count_parameters(make()) for make in FAMILY]
    assert sizes[1] - sizes[0] == 21 * 512 + 21 + 21 * 21 * 4 * 4
    assert sizes[2] - sizes[1] == 21 * 256 + 21 + 21 * 21 * 4 * 4


def test_with_the_padding_of_the_release_the_crops_are_those_of_the_release():
    with torch.device("meta"):  # the released padding of 100 includes that of the first convolution
        nets = [FCN(backbone_of(vgg16()), 21, skips=skips, padding=99) for skips in range(3)]
    assert [-net.enlargement.start for net in nets] == [19, 27, 31]
    assert [net.enlargement.taps for net in nets] == [64, 32, 16]
    assert nets[2]._starts == [5, 9]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make", FAMILY)
@pytest.mark.parametrize("backbone", [vgg16, alexnet, alexnet_towers, googlenet, googlenet_bn, resnet18])
def test_logits_have_the_size_of_the_image_whatever_it_is(backbone, make, size):
    with torch.device("meta"):
        net = make(7, 2, backbone=backbone(3, 2)).eval()
        assert net(torch.empty(2, 2, *size)).shape == (2, 7, *size)


@pytest.mark.parametrize("skips", [0, 1, 2])
@pytest.mark.parametrize(
    "layers",
    [
        [nn.AvgPool2d(2), nn.AvgPool2d(2), nn.AvgPool2d(2)],
        [nn.AvgPool2d(3, 2), nn.AvgPool2d(3, 2), nn.AvgPool2d(3, 2)],
        [nn.AvgPool2d(2), nn.AvgPool2d(3, 2), nn.AvgPool2d(2)],
        [nn.AvgPool2d(5, 4), nn.AvgPool2d(2), nn.Sequential(nn.AvgPool2d(2), nn.AvgPool2d(4, 1))],
        [nn.AvgPool2d(3, 1), nn.AvgPool2d(3, 3), nn.AvgPool2d(5, 2)],
    ],
)
def test_every_answer_is_in_its_place(layers, skips):
    # Averaging and interpolation keep a linear function: aligned, the 1 + skips maps sum to 1 + skips times the plane.
    net = listening(FCN(means(*layers), 1, skips=skips)).double()
    plane = torch.arange(190)[:, None] + 2.0 * torch.arange(171, dtype=torch.float64)
    logits = net(plane[None, None])[0, 0]
    inside = slice(64, -64)  # far from the padding
    torch.testing.assert_close(logits[inside, inside], (1 + skips) * plane[inside, inside], rtol=1e-6, atol=0)


@pytest.mark.parametrize("size", [(64, 96), (32, 32)])
def test_with_pooling_by_2_the_answers_are_bilinear_interpolation_as_torch_has_it(size):
    net = listening(FCN(means(*[nn.AvgPool2d(2)] * 5), 1)).double()
    x = torch.randn(1, 1, *size, dtype=torch.float64)
    expected = F.interpolate(F.avg_pool2d(x, 32), size=size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(net(x), expected, rtol=0, atol=1e-12)


def test_a_skip_that_begins_at_zero_leaves_the_answers_unchanged():
    torch.manual_seed(0)
    net = FCN(backbone_of(small_resnet()), 3, skips=2).eval()
    nn.init.normal_(weight(net.scores[0]))
    x = torch.randn(2, 3, 40, 50)
    before = net(x)
    for score in net.scores[1:]:
        score.register_forward_pre_hook(lambda _, maps: (torch.randn_like(maps[0]),))
    assert before.std() > 0.1
    assert torch.equal(net(x), before)


def test_with_one_more_skip_a_net_begins_with_the_answers_it_gave():
    torch.manual_seed(0)
    coarse = FCN(backbone_of(small_resnet()), 3).double().eval()
    nn.init.normal_(weight(coarse.scores[0]))
    finer = with_skip(coarse)
    finest = with_skip(finer)
    x = torch.randn(1, 3, 24, 20, dtype=torch.float64)
    assert [net.skips for net in (coarse, finer, finest)] == [0, 1, 2]
    assert coarse(x).std() > 0.1
    for net in (finer, finest):
        torch.testing.assert_close(net(x), coarse(x), rtol=0, atol=1e-12)
    nn.init.ones_(weight(finest.scores[2]))
    assert not torch.allclose(finest(x), coarse(x))


def test_a_net_with_one_more_skip_shares_nothing_with_the_one_it_came_from():
    net = FCN(plain_backbone([(4,), (4,)]), 3)
    finer = with_skip(net)
    assert not {p.data_ptr() for p in net.parameters()} & {p.data_ptr() for p in finer.parameters()}
    assert {name: value.shape for name, value in net.state_dict().items()}.items() <= {
        name: value.shape for name, value in finer.state_dict().items()
    }.items()


def test_a_classifiers_weights_are_copied_and_its_last_layer_left_out():
    with torch.device("meta"):
        classifier = alexnet(6)
    share_random_weights(classifier, classifier)
    net = fcn32s(3, backbone=classifier)
    mine, theirs = weight(net.trunk), weight(classifier)
    assert torch.equal(mine, theirs)
    assert mine.data_ptr() != theirs.data_ptr()
    assert not net(torch.randn(1, 3, 40, 40)).any()  # scores are initialized to zero


def test_learned_doublings_begin_bilinear_and_may_mix_classes_and_the_last_interpolation_stays():
    net = FCN(plain_backbone([(4,)] * 3), 2, skips=2)
    for double in net.doublings:
        filters = weight(double)
        assert torch.equal(filters[0, 0], bilinear_kernel(2))
        assert not filters[0, 1].any()
    assert list(net.enlargement.parameters()) == []
    assert torch.equal(net.enlargement.filters[1, 0], bilinear_kernel(2))


def test_between_pixels_that_lie_on_finer_ones_a_filter_has_an_odd_number_of_taps():
    up = Interpolation(1, Grid(2, 0.0), Grid(), learned=False)
    assert up.filters[0, 0].tolist() == [[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]]
    assert up(torch.tensor([[[[1.0, 3.0]]]]))[0, 0, 0].tolist() == [1.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0]


@pytest.mark.parametrize(("coarse", "fine"), [(Grid(3, 0.0), Grid(2, 0.0)), (Grid(4, 0.25), Grid(1, 0.0))])
def test_grids_whose_pixels_do_not_meet_are_refused(coarse, fine):
    with pytest.raises(ValueError, match=re.escape(f"{coarse} cannot be interpolated on {fine}")):
        Interpolation(1, coarse, fine, learned=False)


def test_the_flows_of_a_backbone_take_any_stepping():
    net = FCN(backbone_of(cifar_resnet(2, widths=(4, 6), activation="pre")), 3, skips=1).eval()
    nn.init.normal_(weight(net.scores[0]))
    x = torch.randn(1, 3, 12, 12)
    with torch.no_grad(), configure(net, stepping=Adaptive("dopri5", rtol=1e-3, atol=1e-3)):
        assert net(x).isfinite().all()
    assert all(block.label.startswith("block 'trunk.stages.") for block in net.modules() if isinstance(block, ODEBlock))


def test_the_net_at_full_resolution_is_one_flow_of_any_theta():
    def linear(make_branch, blocks, projection) -> ODEBlock:
        return ODEBlock(PiecewiseLinear([make_branch() for _ in range(blocks + 1)]), FixedSteps("midpoint"))

    net = fcn(5, 1, width=4, blocks=2, norm=group_norm, flow=linear)
    net(torch.randn(2, 1, 9, 7)).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert net.flow.evaluations == 4


@pytest.mark.parametrize("size", SIZES)
def test_the_net_at_full_resolution_takes_any_image(size):
    assert fcn(3, 2, width=4, blocks=1).eval()(torch.zeros(1, 2, *size)).shape == (1, 3, *size)


def test_the_net_at_full_resolution_has_the_stated_size():
    assert count_parameters(fcn()) == 75_861


def test_gradients_reach_every_parameter_once_the_scores_are_not_zero():
    net = fcn8s(3, backbone=plain_backbone([(4,), (4,), (4,), (4,)]))
    for score in net.scores:
        nn.init.normal_(weight(score))
    net(torch.randn(2, 3, 20, 24)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.scores.parameters())
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_a_backbone_for_other_channels_is_refused_with_both():
    with torch.device("meta"), pytest.raises(ValueError, match="in_channels = 1, but the backbone takes images of 3"):
        fcn8s(21, 1, backbone=alexnet())


def test_images_of_other_channels_are_refused():
    with pytest.raises(ValueError, match=r"FCN was given a tensor of shape \(1, 1, 8, 8\); it takes \(batch, 3"):
        FCN(plain_backbone([(4,)]), 3)(torch.zeros(1, 1, 8, 8))


def test_a_nan_pixel_spoils_the_logits_that_see_it_and_no_others():
    torch.manual_seed(0)
    net = fcn8s(3, backbone=plain_backbone([(2,), (2,), (2,)], norm=None))
    for score in net.scores:
        nn.init.normal_(weight(score))
    x = torch.randn(1, 3, 96, 96)
    clean = net(x)
    x[0, 1, 10, 10] = torch.nan
    spoilt = net(x)
    assert spoilt[0, :, 10, 10].isnan().all()
    assert torch.equal(spoilt[:, :, 64:], clean[:, :, 64:])


@pytest.mark.parametrize("skips", [-1, 2])
def test_more_skips_than_finer_maps_are_refused(skips):
    with pytest.raises(ValueError, match=f"skips = {skips}; this backbone has 2 maps.*pass 0 to 1"):
        FCN(plain_backbone([(4,), (4,)]), 3, skips=skips)


def test_a_number_of_classes_that_is_none_is_refused():
    with pytest.raises(ValueError, match="num_classes must be a whole number of at least 1, got 0"):
        fcn32s(0)


def test_weights_for_another_number_of_classes_are_refused_by_name_and_shape(tmp_path):
    save_weights(FCN(plain_backbone([(4,)]), 5), tmp_path / "weights")
    with pytest.raises(WeightsError, match=r"'scores.0.weight', \(5, 4, 1, 1\) instead of \(3, 4, 1, 1\)"):
        load_weights(FCN(plain_backbone([(4,)]), 3), tmp_path / "weights")
