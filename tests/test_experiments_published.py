"""Tests of published numbers: torchvision's own, and those of papers as far as they follow from the nets."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import get_model_weights

from experiments.support import published
from experiments.support.zoo import IMAGENET
from odenet.layers import Inception
from odenet.measure import count_multiply_adds, count_parameters
from odenet.models.googlenet import WIDTHS

OF_TORCHVISION = [name for name, net in published.IMAGENET.items() if net.source == published.TORCHVISION]


def billions(name: str) -> float:
    with torch.device("meta"):
        return count_multiply_adds(IMAGENET[name](), torch.empty(1, 3, 224, 224)) / 1e9


def modules() -> dict[str, tuple[Inception, int, int]]:
    """Return each module of the table with its channels and the side of its maps."""
    found, channels = {}, 192
    with torch.device("meta"):
        for name, widths in WIDTHS.items():
            found[name] = (Inception(channels, widths), channels, {"3": 28, "4": 14, "5": 7}[name[0]])
            channels = found[name][0].channels
    return found


@pytest.mark.parametrize("name", OF_TORCHVISION)
def test_torchvisions_numbers_are_those_of_its_own_table(name):
    meta = get_model_weights(name.removesuffix("_bn"))["IMAGENET1K_V1"].meta
    theirs, ours = meta["_metrics"]["ImageNet-1K"], published.IMAGENET[name]
    assert (ours.top1, ours.top5, ours.multiply_adds) == (theirs["acc@1"], theirs["acc@5"], meta["_ops"])
    with torch.device("meta"):
        assert count_parameters(IMAGENET[name]()) == meta["num_params"]


@pytest.mark.parametrize("name", OF_TORCHVISION)
def test_multiply_adds_are_within_1_percent_of_those_published(name):
    assert billions(name) == pytest.approx(published.IMAGENET[name].multiply_adds, rel=0.01)


def test_he_counts_vgg_16_without_its_linear_layers():
    linear = (512 * 49 * 4096 + 4096 * 4096 + 4096 * 1000) / 1e9
    assert billions("vgg16") - linear == pytest.approx(published.HE_MULTIPLY_ADDS["vgg16"], rel=0.01)
    assert billions("vgg19") == pytest.approx(published.HE_MULTIPLY_ADDS["vgg19"], rel=0.01)


@pytest.mark.parametrize("name", ["resnet50", "resnet152"])
def test_he_has_the_stride_of_a_bottleneck_in_its_first_convolution(name):
    saved = 0.75 * (56**2 * 256 * 128 + 28**2 * 512 * 256 + 14**2 * 1024 * 512) / 1e9
    assert billions(name) - saved == pytest.approx(published.HE_MULTIPLY_ADDS[name], rel=0.016)


def test_the_table_of_googlenet_has_the_multiply_adds_of_its_filters_but_in_5a():
    for name, (module, channels, side) in modules().items():
        counted = count_multiply_adds(module, torch.empty(1, channels, side, side, device="meta")) / 1e6
        printed = published.INCEPTION[name].millions
        assert (abs(counted / printed - 1) < 0.01) == (name != "5a"), name


def test_5a_has_the_multiply_adds_of_the_table_with_48_filters_where_32_stand():
    with torch.device("meta"):
        module = Inception(832, WIDTHS["5a"]._replace(reduced_fives=48))
        assert round(count_multiply_adds(module, torch.empty(1, 832, 7, 7)) / 1e6) == published.INCEPTION["5a"].millions


def test_the_table_of_googlenet_has_the_parameters_of_its_filters_but_in_4c_and_5a():
    for name, (module, *_) in modules().items():
        weights = sum(p.numel() for p in module.parameters() if p.dim() == 4) / 1024
        printed = published.INCEPTION[name].thousands
        assert (abs(weights / printed - 1) < 0.02) == (name not in ("4c", "5a")), name


def test_the_first_convolution_of_that_table_is_a_separable_one():
    with torch.device("meta"):
        net = nn.Sequential(
            nn.Conv2d(3, 24, 7, stride=2, padding=3, groups=3, bias=False), nn.Conv2d(24, 64, 1, bias=False)
        )
        thousands = round(count_parameters(net) / 1e3, 1)
        millions = round(count_multiply_adds(net, torch.empty(1, 3, 224, 224)) / 1e6)
    assert (thousands, millions) == published.FIRST_CONVOLUTION


def test_what_was_found_in_no_source_says_so():
    unsourced = [winner.year for winner in published.WINNERS if winner.source == published.MEMORY]
    assert unsourced == [2010, 2011]
    assert all(net.source for net in published.IMAGENET.values())


def test_winners_stand_in_order_of_their_years_and_errors():
    assert [w.year for w in published.WINNERS] == sorted(w.year for w in published.WINNERS)
    errors = [w.top5_error for w in published.WINNERS]
    assert errors == sorted(errors, reverse=True)
    layers = [w.layers for w in published.WINNERS if w.layers]
    assert layers == sorted(layers)
