"""VGG has torchvision's sizes, names and outputs."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from odenet.measure import count_layers, count_parameters
from odenet.models import VGG, vgg16, vgg19
from tests.network_cases import layers_to, multiply_adds, share_random_weights

TINY = [(4,), (8, 8)]


@pytest.mark.parametrize(
    ("make", "layers", "parameters", "billions"), [(vgg16, 16, 138_357_544, 15.47), (vgg19, 19, 143_667_240, 19.63)]
)
def test_a_vgg_has_the_published_size(make, layers, parameters, billions):
    with torch.device("meta"):
        net = make()
        assert layers_to(net(torch.empty(1, 3, 224, 224))) == layers == count_layers(net)
    assert count_parameters(net) == parameters
    assert round(multiply_adds(net, 1, 3, 224, 224) / 1e9, 2) == billions


@pytest.mark.parametrize(
    ("make", "norm", "theirs"),
    [
        (vgg16, None, torchvision.models.vgg16),
        (vgg19, None, torchvision.models.vgg19),
        (vgg16, nn.BatchNorm2d, torchvision.models.vgg16_bn),
        (vgg19, nn.BatchNorm2d, torchvision.models.vgg19_bn),
    ],
)
def test_weights_are_named_and_shaped_as_in_torchvision(make, norm, theirs):
    with torch.device("meta"):
        states = [net.state_dict() for net in (make(norm=norm), theirs(init_weights=False))]
    ours, torchvisions = ({name: value.shape for name, value in state.items()} for state in states)
    assert ours == torchvisions


def test_with_torchvisions_weights_the_outputs_are_equal_in_evaluation_and_training():
    with torch.device("meta"):
        ours, theirs = vgg16(), torchvision.models.vgg16(init_weights=False)
    torch.manual_seed(0)
    share_random_weights(ours, theirs)
    x = torch.randn(2, 3, 34, 40)
    for training in (False, True):
        outputs = []
        for net in (ours, theirs):
            torch.manual_seed(0)  # for the same dropout
            outputs.append(net.train(training)(x))
        assert torch.equal(*outputs)
        assert outputs[0].std() > 0.01


def test_convolutions_begin_with_variance_2_over_fan_out_and_without_biases():
    torch.manual_seed(0)
    first = VGG([(256,), (1,)], num_classes=2).features[0]
    assert isinstance(first, nn.Conv2d)
    assert first.bias is not None
    assert first.weight.var().item() == pytest.approx(2 / (256 * 9), rel=0.05)
    assert not first.bias.any()


def test_hidden_layers_are_as_wide_as_asked_for():
    with torch.device("meta"):
        net = VGG(TINY, 10, hidden=6)
    sizes = [m.weight.shape for m in net.classifier if isinstance(m, nn.Linear)]
    assert sizes == [(6, 8 * 49), (6, 6), (10, 6)]
    with pytest.raises(ValueError, match="hidden must be a whole number of at least 1, got 0"):
        VGG(TINY, 10, hidden=0)


@pytest.mark.parametrize("make", [vgg16, vgg19])
def test_images_below_32_pixels_are_refused(make):
    with torch.device("meta"):
        net = make(10, in_channels=1)
        assert net(torch.empty(2, 1, 32, 33)).shape == (2, 10)
        with pytest.raises(ValueError, match=r"VGG was given images of 33×31 pixels; .* below 32×32: enlarge"):
            net(torch.empty(2, 1, 33, 31))


def test_the_smallest_image_follows_from_the_stages():
    with torch.device("meta"):
        assert VGG(TINY, 10)(torch.empty(1, 3, 4, 4)).shape == (1, 10)


@pytest.mark.parametrize(
    ("stages", "complaint"),
    [
        ([], r"stages must be a sequence of at least one value, got \[\]"),
        ([(4,), ()], r"stages\[1\] must be a sequence of at least one value, got \(\)"),
        ([(4, 0)], r"stages\[0\]\[1\] must be a whole number of at least 1, got 0"),
    ],
)
def test_stages_without_convolutions_or_filters_are_refused(stages, complaint):
    with pytest.raises(ValueError, match=complaint):
        VGG(stages)
