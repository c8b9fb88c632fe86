"""GoogLeNet has the sizes and maps of the paper's table, in both forms and with its auxiliary classifiers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from odenet.layers import NaiveInception
from odenet.measure import count_parameters
from odenet.models import GoogLeNetOutput, googlenet, googlenet_bn
from odenet.models.googlenet import WIDTHS, AuxiliaryClassifier, WindowMeans
from tests.network_cases import layers_to, multiply_adds

MAPS = {
    "3a": (256, 28),
    "3b": (480, 28),
    "4a": (512, 14),
    "4b": (512, 14),
    "4c": (512, 14),
    "4d": (528, 14),
    "4e": (832, 14),
    "5a": (832, 7),
    "5b": (1024, 7),
}
"""Channels and side of the output of each module for an image of 224×224 (Szegedy et al. 2014, table 1)."""


@pytest.mark.parametrize(
    ("make", "options", "parameters"),
    [
        (googlenet, {"auxiliary": None}, 6_998_552),
        (googlenet, {}, 6_998_552 + 3_188_840 + 3_190_888),
        (googlenet_bn, {"auxiliary": None}, 6_624_904),
        (googlenet_bn, {}, 13_004_888),
    ],
)
def test_the_net_has_the_parameters_that_its_filters_come_to(make, options, parameters):
    with torch.device("meta"):
        assert count_parameters(make(**options)) == parameters


def test_the_auxiliary_classifiers_have_more_than_three_million_parameters_each():
    with torch.device("meta"):
        auxiliaries = googlenet().auxiliaries
    assert {name: count_parameters(net) for name, net in auxiliaries.items()} == {"4a": 3_188_840, "4d": 3_190_888}


def test_without_biases_the_weights_are_the_6990272_of_the_table():
    with torch.device("meta"):
        net = googlenet(auxiliary=None)
    assert sum(p.numel() for p in net.parameters() if p.dim() > 1) == 6_990_272


def test_an_image_costs_the_multiply_adds_of_the_table_and_of_torchvision():
    with torch.device("meta"):
        paper, torchvisions = googlenet(), googlenet_bn()
    assert round(multiply_adds(paper, 1, 3, 224, 224) / 1e6, 1) == 1582.7
    assert round(multiply_adds(torchvisions, 1, 3, 224, 224) / 1e9, 3) == 1.498


@pytest.mark.parametrize("make", [googlenet, googlenet_bn])
def test_each_module_gives_the_map_of_the_table(make):
    with torch.device("meta"):
        net, maps = make(), {}
        for name, part in net.body.items():
            part.register_forward_hook(lambda _, __, out, name=name: maps.update({name: out.shape}))
        net(torch.empty(1, 3, 224, 224))
    assert {name: (shape[1], shape[2]) for name, shape in maps.items() if name in MAPS} == MAPS


@pytest.mark.parametrize("make", [googlenet, googlenet_bn])
def test_the_net_is_22_layers_deep_and_its_auxiliary_classifiers_12_and_18(make):
    with torch.device("meta"):
        output = make()(torch.empty(2, 3, 224, 224))
    assert [layers_to(logits) for logits in output] == [22, 3 + 2 * 3 + 3, 3 + 2 * 6 + 3]


def test_without_bottlenecks_the_net_is_13_layers_deep_and_pays_for_its_growing_maps():
    with torch.device("meta"):
        net = googlenet(module=NaiveInception.of_widths)
        assert layers_to(net(torch.empty(1, 3, 224, 224)).logits) == 13
    terms, channels = [112**2 * 49 * 3 * 64, 56**2 * 64 * (64 + 9 * 192)], 192
    for name, widths in WIDTHS.items():
        terms.append(MAPS[name][1] ** 2 * channels * (widths.ones + 9 * widths.threes + 25 * widths.fives))
        channels += widths.ones + widths.threes + widths.fives
    counted = multiply_adds(net, 1, 3, 224, 224)
    assert counted == sum(terms) + 1000 * channels
    assert round(counted / 1e9, 1) == 12.6  # 7.9 times the net with bottlenecks


@pytest.mark.parametrize("make", [googlenet, googlenet_bn])
def test_training_returns_three_classifications_and_evaluation_the_last_alone(make):
    net, x = make(7, in_channels=1), torch.randn(2, 1, 48, 40)
    trained, evaluated = net.train()(x), net.eval()(x)
    assert isinstance(trained, GoogLeNetOutput)
    assert [logits.shape for logits in trained] == [(2, 7)] * 3
    assert isinstance(evaluated, torch.Tensor)
    assert evaluated.shape == (2, 7)


def test_a_net_without_auxiliary_classifiers_returns_logits_in_training_too():
    with torch.device("meta"):
        assert googlenet(7, auxiliary=None)(torch.empty(2, 3, 31, 31)).shape == (2, 7)


def test_auxiliary_classifiers_are_not_computed_in_evaluation():
    calls = []
    with torch.device("meta"):
        net = googlenet(7)
        for auxiliary in net.auxiliaries.values():
            auxiliary.register_forward_hook(lambda *_: calls.append(None))
        net.eval()(torch.empty(1, 3, 64, 64))
        assert calls == []
        net.train()(torch.empty(1, 3, 64, 64))
    assert len(calls) == 2


@pytest.mark.parametrize(("field", "last"), [("auxiliary_4a", "4a"), ("auxiliary_4d", "4d"), ("logits", "5b")])
def test_the_gradient_of_a_classifier_reaches_the_modules_below_it_and_no_other(field, last):
    net = googlenet(3, in_channels=1)
    getattr(net(torch.randn(2, 1, 40, 40)), field).square().sum().backward()
    reached = [name for name, part in net.body.items() if any(p.grad is not None for p in part.parameters())]
    assert reached == [name for name in MAPS if name <= last]
    gradient = net.stem.get_parameter("conv1.conv.weight").grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_auxiliary_losses_count_three_tenths_each():
    output = GoogLeNetOutput(torch.tensor([1.0]), torch.tensor([10.0]), torch.tensor([100.0]))
    assert output.combine(torch.sum).item() == pytest.approx(1 + 0.3 * 110)
    assert output.combine(torch.sum, weight=0).item() == 1


def test_means_over_windows_are_the_papers_pooling_at_14_pixels():
    x = torch.randn(2, 3, 14, 14)
    assert torch.equal(WindowMeans(4)(x), nn.AvgPool2d(5, 3)(x))
    assert not torch.allclose(WindowMeans(4)(x), nn.AdaptiveAvgPool2d(4)(x))


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (4, 4), (7, 15)])
def test_means_over_windows_see_every_pixel_of_any_map(shape):
    x = torch.zeros(1, 1, *shape, requires_grad=True)
    means = WindowMeans(4)(x)
    assert means.shape == (1, 1, 4, 4)
    means.sum().backward()
    assert x.grad is not None
    assert x.grad.min() > 0


def test_an_auxiliary_classifier_takes_another_pooling():
    auxiliary = AuxiliaryClassifier(3, 2, pool=nn.AdaptiveAvgPool2d(4)).eval()
    x = torch.randn(1, 3, 8, 8)
    assert torch.equal(auxiliary(x), AuxiliaryClassifier.forward(auxiliary, nn.AvgPool2d(2)(x)))


def count(net: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in net.modules())


def test_a_norm_takes_the_place_of_biases_and_response_normalization():
    with torch.device("meta"):
        paper, normed = googlenet(), googlenet(norm=nn.BatchNorm2d)
    assert (count(paper, nn.LocalResponseNorm), count(paper, nn.BatchNorm2d)) == (2, 0)
    assert (count(normed, nn.LocalResponseNorm), count(normed, nn.BatchNorm2d)) == (0, 3 + 9 * 6 + 2)
    assert count(normed, nn.Conv2d) == count(normed, nn.BatchNorm2d)


def test_at_initialization_the_signal_neither_dies_nor_explodes_without_norms():
    torch.manual_seed(0)
    net = googlenet(10).eval()
    with torch.no_grad():
        features = net.body["3a"](net.stem(torch.randn(2, 3, 64, 64)))
        for name, part in list(net.body.items())[1:]:
            features = part(features)
            assert 0.2 < features.std() < 10, name


@pytest.mark.parametrize(("make", "smallest"), [(googlenet, 31), (googlenet_bn, 15)])
def test_images_in_which_pooling_leaves_nothing_are_refused(make, smallest):
    with torch.device("meta"):
        net = make(10)
        assert net(torch.empty(2, 3, smallest, smallest)).logits.shape == (2, 10)
        with pytest.raises(ValueError, match=f"GoogLeNet was given images of .* below {smallest}×{smallest}: enlarge"):
            net(torch.empty(2, 3, smallest, smallest - 1))
        with pytest.raises(RuntimeError, match="too small"):
            nn.Sequential(net.stem, *net.body.values())(torch.empty(2, 3, smallest - 1, smallest - 1))


def test_images_of_other_channels_are_refused():
    with torch.device("meta"), pytest.raises(ValueError, match=r"takes \(batch, 3, height, width\)"):
        googlenet()(torch.empty(1, 1, 64, 64))


@pytest.mark.parametrize("size", [1, 4])
def test_a_last_pooling_of_another_size_is_refused(size):
    with pytest.raises(ValueError, match=f"last_pool = {size}; .* pass 3 for the paper's net, 2 for torchvision's"):
        googlenet(last_pool=size)


def test_a_number_of_classes_that_is_none_is_refused():
    with pytest.raises(ValueError, match="num_classes must be a whole number of at least 1, got 0"):
        googlenet(0)
