"""Multiply-adds counted by torch are those counted by hand and those published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from odenet import RK4, BasicBranch, Constant, FixedSteps, ODEBlock
from odenet.measure import count_multiply_adds, count_operations
from odenet.models import (
    plain20,
    plain110,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet101,
    resnet110,
    resnet152,
    rk_net,
)


def count(make: Callable[..., nn.Module], *shape: int, **options: Any) -> int:
    with torch.device("meta"):
        return count_multiply_adds(make(**options), torch.empty(shape))


@pytest.mark.parametrize(
    ("layer", "shape", "by_hand"),
    [
        (nn.Conv2d(3, 8, 5, padding=2), (2, 3, 7, 9), 2 * 7 * 9 * 25 * 3 * 8),
        (nn.Conv2d(4, 8, 3, stride=2), (1, 4, 9, 9), 4 * 4 * 9 * 4 * 8),
        (nn.Conv2d(4, 8, 3, groups=4, padding=1), (1, 4, 6, 6), 6 * 6 * 9 * 1 * 8),
        (nn.ConvTranspose2d(4, 8, 2, stride=2), (1, 4, 5, 5), 5 * 5 * 4 * 4 * 8),
        (nn.Linear(10, 7), (3, 10), 3 * 10 * 7),
        (nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)), (2, 4, 8, 8), 0),
    ],
    ids=["5×5", "stride 2", "groups", "transposed", "linear", "not counted"],
)
def test_a_layer_has_the_multiply_adds_counted_by_hand(layer, shape, by_hand):
    assert count_multiply_adds(layer, torch.randn(shape)) == by_hand
    assert count_multiply_adds(layer.to("meta"), torch.empty(shape, device="meta")) == by_hand


@pytest.mark.parametrize(
    ("make", "blocks"), [(resnet20, 3), (resnet32, 5), (resnet44, 7), (resnet56, 9), (resnet110, 18)]
)
def test_a_resnet_for_small_images_has_the_multiply_adds_counted_by_hand(make, blocks):
    stem = 32**2 * 9 * 3 * 16
    stages = sum(side**2 * 9 * width**2 * 2 * blocks for side, width in ((32, 16), (16, 32), (8, 64)))
    narrow = sum(
        side**2 * 9 * width * width // 2 for side, width in ((16, 32), (8, 64))
    )  # transitions have half the input channels
    assert count(make, 1, 3, 32, 32) == stem + stages - narrow + 640


@pytest.mark.parametrize(
    ("make", "billions"),
    [(resnet18, 1.814), (resnet34, 3.664), (resnet50, 4.089), (resnet101, 7.801), (resnet152, 11.514)],
)
def test_a_resnet_for_imagenet_has_the_multiply_adds_that_torchvision_publishes(make, billions):
    assert round(count(make, 1, 3, 224, 224) / 1e9, 3) == billions


@pytest.mark.parametrize(("plain", "residual"), [(plain20, resnet20), (plain110, resnet110)])
def test_a_plain_net_has_the_multiply_adds_of_the_residual_one(plain, residual):
    assert count(plain, 1, 3, 32, 32) == count(residual, 1, 3, 32, 32)


def test_an_operation_is_half_a_multiply_add():
    net, images = nn.Conv2d(1, 2, 3), torch.randn(1, 1, 8, 8)
    assert count_operations(net, images) == 2 * count_multiply_adds(net, images) == 2 * 36 * 9 * 2


def test_the_count_is_that_of_the_batch():
    assert count(resnet20, 5, 3, 32, 32) == 5 * count(resnet20, 1, 3, 32, 32)


def test_every_evaluation_of_a_field_counts():
    branch, images = BasicBranch(4), torch.randn(1, 4, 6, 6)
    block = ODEBlock(Constant(branch), FixedSteps(RK4(), per_piece=3))
    assert count_multiply_adds(block, images) == 12 * 2 * 36 * 9 * 4 * 4


def test_an_rk_net_pays_four_evaluations_a_step():
    one, two = (count(rk_net, 1, 1, 28, 28, steps=steps) for steps in (1, 2))
    assert two - one == 4 * 2 * 6**2 * 9 * 65 * 64


def test_counting_leaves_statistics_and_modes_as_they_were():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2).eval(), nn.Dropout())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    count_multiply_adds(net, torch.randn(4, 1, 8, 8))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert [module.training for module in net] == [True, False, True]
    assert all(p.grad is None for p in net.parameters())
