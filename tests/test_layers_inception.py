"""Inception modules have the weights and multiply-adds of the paper's table and of the lecture's slide."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from odenet.layers import Inception, InceptionWidths, NaiveInception, convolution
from tests.network_cases import layers_to, multiply_adds

TABLE = [  # side in pixels, input channels, widths, output channels, weights, millions of multiply-adds
    pytest.param(28, 192, (64, 96, 128, 16, 32, 32), 256, 163_328, 128.0, id="3a"),
    pytest.param(28, 256, (128, 128, 192, 32, 96, 64), 480, 388_096, 304.3, id="3b"),
    pytest.param(14, 480, (192, 96, 208, 16, 48, 64), 512, 375_552, 73.6, id="4a"),
    pytest.param(14, 512, (160, 112, 224, 24, 64, 64), 512, 448_512, 87.9, id="4b"),
    pytest.param(14, 512, (128, 128, 256, 24, 64, 64), 512, 509_440, 99.9, id="4c"),
    pytest.param(14, 512, (112, 144, 288, 32, 64, 64), 528, 604_672, 118.5, id="4d"),
    pytest.param(14, 528, (256, 160, 320, 32, 128, 128), 832, 867_328, 170.0, id="4e"),
    pytest.param(7, 832, (256, 160, 320, 32, 128, 128), 832, 1_042_432, 51.1, id="5a"),
    pytest.param(7, 832, (384, 192, 384, 48, 128, 128), 1024, 1_442_816, 70.7, id="5b"),
]
"""Table 1 of Szegedy et al. 2014; weights are computed from its filters, unlike its own column of parameters."""

SMALL = InceptionWidths(3, 2, 4, 2, 5, 6)


@pytest.mark.parametrize(("side", "in_channels", "widths", "channels", "weights", "millions"), TABLE)
def test_a_module_has_the_channels_weights_and_multiply_adds_of_the_table(
    side, in_channels, widths, channels, weights, millions
):
    with torch.device("meta"):
        module = Inception(in_channels, InceptionWidths(*widths))
    assert module.channels == channels == module(torch.empty(1, in_channels, side, side, device="meta")).shape[1]
    assert sum(p.numel() for p in module.parameters() if p.dim() == 4) == weights
    counted = multiply_adds(module, 1, in_channels, side, side)
    assert counted == weights * side**2
    assert round(counted / 1e6, 1) == millions


def test_the_naive_module_of_the_lecture_costs_854_million_multiply_adds_and_hands_on_672_channels():
    with torch.device("meta"):
        naive = NaiveInception(256, 128, 192, 96)
    assert naive.channels == 672
    assert multiply_adds(naive, 1, 256, 28, 28) == 28**2 * 256 * (128 + 9 * 192 + 25 * 96) == 854_196_224


def test_with_bottlenecks_of_64_the_terms_of_the_lecture_sum_to_271_million_and_not_to_358():
    with torch.device("meta"):
        module = Inception(256, InceptionWidths(128, 64, 192, 64, 96, 64))
    reductions, ones = 3 * 28**2 * 256 * 64, 28**2 * 256 * 128
    threes, fives = 28**2 * 64 * 9 * 192, 28**2 * 64 * 25 * 96
    counted = multiply_adds(module, 1, 256, 28, 28)
    assert counted == reductions + ones + threes + fives
    assert round(counted / 1e6, 1) == 271.4
    assert round((counted + threes) / 1e6) == 358
    assert module.channels == 480


@pytest.mark.parametrize(
    ("side", "in_channels", "widths", "times", "channels"),
    [
        pytest.param(28, 192, (64, 96, 128, 16, 32, 32), 2.37, 416, id="3a"),
        pytest.param(28, 256, (128, 128, 192, 32, 96, 64), 2.81, 672, id="3b"),
        pytest.param(14, 480, (192, 96, 208, 16, 48, 64), 4.17, 928, id="4a"),
        pytest.param(7, 832, (256, 160, 320, 32, 128, 128), 5.06, 1536, id="5a"),
    ],
)
def test_without_its_bottlenecks_a_module_of_the_table_costs_more_and_grows(side, in_channels, widths, times, channels):
    shape, given = (1, in_channels, side, side), InceptionWidths(*widths)
    with torch.device("meta"):
        naive, reduced = NaiveInception.of_widths(in_channels, given), Inception(in_channels, given)
    assert round(multiply_adds(naive, *shape) / multiply_adds(reduced, *shape), 2) == times
    assert naive.channels == channels


def test_a_module_is_its_branches_side_by_side_in_the_order_of_the_table():
    module, x = Inception(4, SMALL), torch.randn(2, 4, 7, 5)
    parts = module(x).split([3, 4, 5, 6], dim=1)
    for part, name in zip(parts, ("ones", "threes", "fives", "pooled"), strict=True):
        assert torch.equal(part, module[name](x))


def test_the_naive_module_hands_on_the_largest_of_each_pixels_neighbours():
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    pooled = NaiveInception(1, 1, 1, 1)(x)[:, 3:]
    assert torch.equal(pooled, torch.tensor([[[[5.0, 6, 7, 7], [9, 10, 11, 11], [9, 10, 11, 11]]]]))


def test_the_module_with_bottlenecks_is_two_layers_deep_and_the_naive_one_a_single_layer():
    x = torch.randn(1, 4, 5, 5)
    assert layers_to(Inception(4, SMALL)(x)) == 2
    assert layers_to(NaiveInception(4, 3, 4, 5)(x)) == 1


@pytest.mark.parametrize("largest", [5, 3])
def test_the_branch_of_fives_has_filters_of_five_pixels_or_of_torchvisions_three(largest):
    naive, reduced = NaiveInception(4, 1, 1, 5, largest=largest), Inception(4, SMALL, largest=largest)
    assert naive.get_parameter("fives.conv.weight").shape == (5, 4, largest, largest)
    assert reduced.get_parameter("fives.filter.conv.weight").shape == (5, 2, largest, largest)


def test_a_norm_takes_the_place_of_the_biases():
    with_norm, without = Inception(4, SMALL, norm=nn.BatchNorm2d), Inception(4, SMALL)
    assert [type(m) for m in with_norm["ones"].children()] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert [type(m) for m in without["ones"].children()] == [nn.Conv2d, nn.ReLU]
    convolutions = [m for m in with_norm.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 6
    assert all(m.bias is None for m in convolutions)
    assert all(m.bias is not None for m in without.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize(("name", "count"), [("reduced_fives", 0), ("pooled", -1), ("threes", 2.5), ("ones", True)])
def test_a_width_that_is_no_number_of_channels_is_refused_by_name(name, count):
    with pytest.raises((TypeError, ValueError), match=f"{name} must be a whole number.*, got {count!r}"):
        Inception(4, SMALL._replace(**{name: count}))


def test_a_naive_module_on_no_channels_is_refused():
    with pytest.raises(ValueError, match="in_channels must be a whole number of at least 1, got 0"):
        NaiveInception(0, 1, 1, 1)


def test_filters_of_even_size_are_refused():
    with pytest.raises(ValueError, match="filters of 4×4 cannot keep the size of a map: pass an odd size"):
        convolution(3, 8, 4)
