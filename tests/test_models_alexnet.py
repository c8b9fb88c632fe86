"""AlexNet has torchvision's sizes, names and outputs."""

from __future__ import annotations

import pytest
import torch
import torchvision

from odenet.measure import count_layers, count_parameters
from odenet.models import alexnet, googlenet, googlenet_bn
from tests.network_cases import layers_to, multiply_adds, share_random_weights


def test_alexnet_has_the_published_size():
    with torch.device("meta"):
        net = alexnet()
    assert count_parameters(net) == 61_100_840
    assert count_layers(net) == 8
    assert round(multiply_adds(net, 1, 3, 224, 224) / 1e9, 3) == 0.714  # torchvision publishes it as GFLOPS


def test_alexnet_is_eight_layers_deep():
    with torch.device("meta"):
        assert layers_to(alexnet()(torch.empty(1, 3, 224, 224))) == 8


def test_googlenet_has_nine_times_fewer_parameters_and_not_twelve():
    with torch.device("meta"):
        sizes = [count_parameters(net) for net in (alexnet(), googlenet(auxiliary=None), googlenet_bn(auxiliary=None))]
    assert [round(sizes[0] / size, 1) for size in sizes[1:]] == [8.7, 9.2]


def test_with_torchvisions_weights_the_outputs_are_equal_in_evaluation_and_training():
    with torch.device("meta"):
        ours, theirs = alexnet(), torchvision.models.alexnet()
    torch.manual_seed(0)
    share_random_weights(ours, theirs)
    x = torch.randn(2, 3, 80, 70)
    for training in (False, True):
        outputs = []
        for net in (ours, theirs):
            torch.manual_seed(0)  # for the same dropout
            outputs.append(net.train(training)(x))
        assert torch.equal(*outputs)
        assert outputs[0].std() > 0.01


def test_classes_and_channels_are_those_asked_for():
    with torch.device("meta"):
        assert alexnet(10, in_channels=1)(torch.empty(2, 1, 63, 63)).shape == (2, 10)


def test_images_below_63_pixels_are_refused():
    with torch.device("meta"):
        net = alexnet()
        assert net(torch.empty(1, 3, 63, 90)).shape == (1, 1000)
        with pytest.raises(ValueError, match=r"AlexNet was given images of 62×90 pixels; .* below 63×63: enlarge"):
            net(torch.empty(1, 3, 62, 90))


def test_images_of_other_channels_are_refused():
    with torch.device("meta"), pytest.raises(ValueError, match=r"takes \(batch, 3, height, width\)"):
        alexnet()(torch.empty(1, 1, 64, 64))


def test_a_number_of_classes_that_is_none_is_refused():
    with pytest.raises(ValueError, match="num_classes must be a whole number of at least 1, got 0"):
        alexnet(0)
