"""Backbones compute at each pixel what their classifier computes for the patch around it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from odenet import FixedSteps, configure
from odenet.layers.grid import Grid
from odenet.measure import count_multiply_adds, count_parameters
from odenet.models import (
    VGG,
    Backbone,
    alexnet,
    alexnet_towers,
    backbone_of,
    cifar_resnet,
    googlenet,
    plain18,
    plain_backbone,
    resnet18,
    resnet50,
    vgg16,
)
from odenet.models.fcn_trunks import Classifier, as_convolution, last_layer
from tests.network_cases import share_random_weights


def heat_maps(classifier: Classifier) -> nn.Sequential:
    """Build the net that scores every class at every pixel of the coarsest map, with the classifier's weights."""
    return nn.Sequential(*backbone_of(classifier).stages, last_layer(classifier))


def thin_vgg(num_classes: int = 5) -> VGG:
    """Build a VGG-16 with a hundredth of its filters."""
    stages = [(4,) * 2, (4,) * 2, (6,) * 3, (6,) * 3, (8,) * 3]
    return VGG(stages, num_classes)


@pytest.mark.parametrize(
    ("make", "side"),
    [
        (thin_vgg, 224),
        (alexnet, 224),
        (alexnet_towers, 227),
        (lambda classes: googlenet(classes, auxiliary=None), 224),
    ],
)
def test_on_one_patch_the_heat_map_is_the_classifiers_answer(make, side):
    torch.manual_seed(0)
    with torch.device("meta"):
        classifier = make(5).eval()
    share_random_weights(classifier, classifier)
    x = torch.randn(1, 3, side, side)
    with torch.no_grad():
        answer, scores = classifier(x), heat_maps(classifier)(x)
    assert answer.std() > 1e-2
    assert scores.shape == (1, 5, 1, 1)
    torch.testing.assert_close(scores[:, :, 0, 0], answer, rtol=1e-5, atol=1e-5 * float(answer.abs().max()))


def test_every_pixel_of_a_heat_map_is_the_answer_to_the_patch_there():
    # Without padding, the result for a patch does not depend on where the patch ends.
    torch.manual_seed(0)
    classifier = VGG([(3, 4), (5,), (6,)], num_classes=5).double().eval()
    for layer in classifier.features:
        if isinstance(layer, nn.Conv2d):
            layer.padding = (0, 0)
    patch, stride = 72, 8  # 72 → 68 → 34 → 32 → 16 → 14 → 7
    x = torch.randn(1, 3, patch + 2 * stride, patch + 3 * stride, dtype=torch.float64)
    with torch.no_grad():
        scores = heat_maps(classifier)(x)
        assert scores.shape == (1, 5, 3, 4)
        for row in range(3):
            for column in range(4):
                top, left = row * stride, column * stride
                answer = classifier(x[:, :, top : top + patch, left : left + patch])
                torch.testing.assert_close(scores[:, :, row, column], answer, rtol=1e-12, atol=1e-14)


def test_alexnet_on_500_pixels_gives_10_by_10_answers_for_an_eighth_of_the_work():
    with torch.device("meta"):
        classifier = alexnet_towers()
        net, image, patch = heat_maps(classifier), torch.empty(1, 3, 500, 500), torch.empty(1, 3, 227, 227)
        assert net(image).shape == (1, 1000, 10, 10)
        ratio = 100 * count_multiply_adds(classifier, patch) / count_multiply_adds(net, image)
    assert round(ratio, 2) == 7.77  # Long et al. measured 5.45 in batches, 24.5 one by one


@pytest.mark.parametrize(
    ("make", "channels", "strides"),
    [
        (vgg16, (256, 512, 4096), (8, 16, 32)),
        (alexnet, (64, 192, 4096), (8, 16, 32)),
        (alexnet_towers, (96, 256, 4096), (8, 16, 32)),
        (googlenet, (480, 832, 1024), (8, 16, 32)),
        (resnet18, (128, 256, 512), (8, 16, 32)),
        (resnet50, (512, 1024, 2048), (8, 16, 32)),
        (plain18, (128, 256, 512), (8, 16, 32)),
        (lambda: cifar_resnet(2, activation="pre"), (16, 32, 64), (1, 2, 4)),
        (lambda: VGG([(4,), (8,)]), (4, 4096), (2, 4)),
    ],
)
def test_maps_have_the_channels_and_strides_that_the_backbone_says(make, channels, strides):
    with torch.device("meta"):
        backbone = backbone_of(make())
        maps = backbone(torch.empty(1, 3, 512, 512))
    assert backbone.channels == channels == tuple(x.shape[1] for x in maps)
    assert tuple(grid.stride for grid in backbone.grids) == strides
    for grid, x in zip(backbone.grids, maps, strict=True):
        assert abs(x.shape[2] - (512 - 2 * grid.centre) / grid.stride) < 2


def test_a_backbone_has_the_classifiers_own_weights_and_flows():
    net = cifar_resnet(2)
    backbone = backbone_of(net)
    own, head, its = ({p.data_ptr() for p in module.parameters()} for module in (net, net.head, backbone))
    assert its == own - head
    x = torch.randn(1, 3, 16, 16)
    with torch.no_grad(), configure(backbone, stepping=FixedSteps("rk4")):
        changed = backbone(x)[-1]
    assert not torch.equal(changed, backbone(x)[-1])


@pytest.mark.parametrize("activation", ["pre", "post"])
def test_the_mean_of_the_heat_map_of_a_resnet_is_its_answer(activation):
    net = cifar_resnet(1, widths=(4, 8, 8), activation=activation).eval()
    x = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(heat_maps(net)(x).mean(dim=(2, 3)), net(x))


def test_a_backbone_knows_how_much_of_an_image_it_needs():
    with torch.device("meta"):
        backbone = backbone_of(vgg16())
        for size in (1, 2, 5):
            pixels = backbone.pixels_for(size)
            assert backbone(torch.empty(1, 3, pixels, pixels))[-1].shape[2] == size
            assert backbone(torch.empty(1, 3, pixels + 31, pixels + 31))[-1].shape[2] == size


def test_a_plain_backbone_is_a_vgg_without_linear_layers():
    backbone = plain_backbone([(4,), (6, 6), (8,), (10,)], in_channels=1)
    assert backbone.channels == (6, 8, 10)
    assert backbone.grids == (Grid(4, 1.5), Grid(8, 3.5), Grid(16, 7.5))
    assert [x.shape[1:] for x in backbone(torch.zeros(1, 1, 32, 48))] == [(6, 8, 12), (8, 4, 6), (10, 2, 3)]
    assert count_parameters(plain_backbone([(4,)], 1, norm=None)) == 4 * 9 + 4


def test_a_linear_layer_on_a_map_is_a_convolution_with_its_weights():
    linear = nn.Linear(3 * 4 * 4, 6)
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(as_convolution(linear, 4)(x).flatten(1), linear(x.flatten(1)))
    assert as_convolution(nn.Linear(3, 2, bias=False), 1).bias is None


def test_another_network_is_refused():
    with pytest.raises(TypeError, match="Linear cannot be made a backbone; only VGG, AlexNet, GoogLeNet and ResNet"):
        backbone_of(nn.Linear(2, 2))  # pyright: ignore[reportArgumentType]


def test_stages_without_channels_or_grids_are_refused():
    with pytest.raises(ValueError, match=r"given 1 stages, channels of 2 maps and 1 grids; .* name as many of each"):
        Backbone([nn.Identity()], [3, 3], [Grid()], 3)
    with pytest.raises(ValueError, match="given 0 stages"):
        Backbone([], [], [], 3)


def test_a_stage_without_convolutions_is_refused():
    with pytest.raises(ValueError, match=r"widths\[1\] must be a sequence of at least one value, got \(\)"):
        plain_backbone([(4,), ()])
