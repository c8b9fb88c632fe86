"""Momentum steps are those of the paper, converge to a heavy ball, and can be undone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from odenet import (
    Adaptive,
    BasicBranch,
    Constant,
    FixedSteps,
    HeavyBall,
    MLPBranch,
    MomentumEuler,
    ODEBlock,
    PiecewiseConstant,
    Reversible,
    group_norm,
)
from odenet.layers import Augment, DropChannels
from tests.laws import STEP_COUNTS, slope


class Scaled(nn.Module):
    """F(t, x) = c·branch(t, x)."""

    def __init__(self, branch: nn.Module, c: float) -> None:
        super().__init__()
        self.branch, self.c = branch, c

    def forward(self, t: Any, x: Tensor) -> Tensor:
        return self.c * self.branch(t, x)


def test_with_steps_of_one_it_is_the_momentum_resnet_of_the_paper() -> None:
    torch.manual_seed(0)
    branches = [BasicBranch(4, norm=group_norm).double() for _ in range(5)]
    block, x = ODEBlock(PiecewiseConstant(branches), FixedSteps(MomentumEuler(0.7))), torch.randn(2, 4, 6, 6).double()
    y, v = x, torch.zeros_like(x)
    for branch in branches:
        v = 0.7 * v + (1 - 0.7) * branch(0.0, y)
        y = y + v
    torch.testing.assert_close(block(x), y, rtol=1e-12, atol=1e-12)
    assert block.evaluations == 5


def test_it_converges_with_order_one_to_a_heavy_ball_whose_friction_is_one_minus_the_momentum() -> None:
    torch.manual_seed(0)
    branch, x = MLPBranch(2, 8).double(), torch.randn(4, 2, dtype=torch.float64)
    ball = ODEBlock(Constant(HeavyBall(Scaled(branch, 0.4), 0.4), 3.0), Adaptive("dopri5", rtol=1e-10, atol=1e-10))
    with torch.no_grad():
        exact = nn.Sequential(Augment(2), ball, DropChannels(2))(x)
        block, errors = ODEBlock(Constant(branch, 3.0)), []
        for number in STEP_COUNTS:
            block.stepping = FixedSteps(MomentumEuler(0.6), number)
            errors.append(float((block(x) - exact).norm()))
    assert slope(STEP_COUNTS, errors) == pytest.approx(1, abs=0.05)


def test_its_steps_are_undone_and_the_gradient_is_exact() -> None:
    torch.manual_seed(0)
    block = ODEBlock(PiecewiseConstant([MLPBranch(3) for _ in range(20)]), FixedSteps(MomentumEuler(0.8))).double()
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)

    def gradients() -> tuple[Tensor, ...]:
        return torch.autograd.grad(block(x).square().sum(), [x, *block.parameters()])

    expected = gradients()
    block.gradient = Reversible()
    for found, wanted in zip(gradients(), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("momentum", [0, 1, -0.5, 1.5, math.nan], ids=repr)
def test_a_momentum_outside_its_interval_is_refused(momentum: float) -> None:
    with pytest.raises(ValueError, match=rf"momentum = {momentum!r}; .* pass a number between 0 and 1"):
        MomentumEuler(momentum)


def test_steps_that_would_turn_the_velocity_round_are_refused() -> None:
    block = ODEBlock(Constant(MLPBranch(2), 4.0), FixedSteps(MomentumEuler(0.5)))
    with pytest.raises(ValueError, match=r"steps of h = 4; .* must be above 0: take smaller steps"):
        block(torch.zeros(1, 2))
