"""Tests of the zoo: every net takes the images it is made for; wrong names and images are refused."""

from __future__ import annotations

import pytest
import torch

from experiments.complexity import PRESETS
from experiments.support.zoo import CHEN, CIFAR, IMAGENET, OTHERS, SMALL, all_convolutional, published_net, small_net
from odenet.data import ImageData, Split
from odenet.measure import count_layers, count_multiply_adds, count_parameters


def images(side: int, channels: int = 1) -> ImageData:
    split = Split(torch.zeros(10, channels, side, side, dtype=torch.uint8), torch.arange(10))
    return ImageData("nothing", split, split, tuple("0123456789"))


@pytest.mark.parametrize(
    "name", sorted(SMALL.keys() - {"res_net", "rk_net", "ode_net"})
)  # but for their width in it too
def test_a_small_net_is_trained_on_images_of_28_pixels(name):
    net = small_net(name, images(28))
    assert net.training
    logits = net(torch.randn(2, 1, 28, 28))
    assert logits.shape == (2, 10)
    logits.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_the_linear_net_is_shaped_by_the_images():
    assert count_parameters(small_net("linear", images(28))) == 7850
    assert count_parameters(small_net("linear", images(8, channels=3))) == 10 * (3 * 64 + 1)


def test_the_all_convolutional_net_has_the_multiply_adds_counted_by_hand():
    with torch.device("meta"):
        net = all_convolutional(10, 1, width=8)
        counted = count_multiply_adds(net, torch.empty(1, 1, 28, 28))
    assert counted == 28**2 * 9 * 8 + 14**2 * 9 * (8 * 16 + 16 * 16) + 7**2 * 9 * (16 * 32 + 32 * 32) + 32 * 10


def test_the_small_resnet_18_is_the_one_usual_on_cifar():
    with torch.device("meta"):
        net = SMALL["resnet18"](10, 3)
    assert count_parameters(net) == 11_173_962
    assert count_layers(net) == 18


def test_plain_and_residual_nets_of_the_zoo_differ_in_the_identity_alone():
    x = torch.empty(1, 1, 28, 28, device="meta")
    for depth in ("8/2", "20/2", "20"):
        with torch.device("meta"):
            plain, residual = (SMALL[f"{kind}{depth}"](10, 1) for kind in ("plain", "resnet"))
        assert count_parameters(plain) == count_parameters(residual)
        assert count_multiply_adds(plain, x) == count_multiply_adds(residual, x)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_presets_name_nets_that_there_are(preset):
    settings = PRESETS[preset]
    assert {*settings.zoo, settings.best} <= set(SMALL)
    assert set(settings.timed) <= set(settings.counted) & set(IMAGENET)
    assert set(settings.counted) <= {*IMAGENET, *OTHERS, *CIFAR, *CHEN}


def test_a_net_that_there_is_not_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="unknown net 'conv7'; did you mean 'conv6'"):
        small_net("conv7", images(28))
    with pytest.raises(ValueError, match="unknown net 'vgg17'; did you mean 'vgg1"):
        published_net("vgg17")


def test_images_too_small_for_a_net_are_refused_before_it_is_trained():
    with pytest.raises(ValueError, match="VGG was given images of 3×3 pixels"):
        small_net("vgg6", images(3))


def test_the_shape_of_published_images_is_that_of_their_data_set():
    assert published_net("vgg16")[1] == (3, 224, 224)
    assert published_net("plain110")[1] == (3, 32, 32)
    assert published_net("ode_net")[1] == (1, 28, 28)


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_nets_take_images_of_224_pixels(name):
    make, shape = published_net(name)
    with torch.device("meta"):
        outputs = make()(torch.empty(2, *shape))
    assert len(outputs) == 2


def test_no_net_has_two_names_in_the_counts():
    names = [*IMAGENET, *OTHERS, *CIFAR, *CHEN]
    assert len(set(names)) == len(names)
