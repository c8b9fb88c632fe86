from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from odenet import (
    RK4,
    Adaptive,
    Backprop,
    Checkpointed,
    Constant,
    ContinuousAdjoint,
    FixedSteps,
    MLPBranch,
    ODEBlock,
)
from tests.laws import SteppingLaws, states
from tests.problems import Logistic


class TestDopri5(SteppingLaws):
    stepping = Adaptive("dopri5", rtol=1e-7, atol=1e-7)


class TestBosh3WithABudget(SteppingLaws):
    stepping = Adaptive("bosh3", rtol=1e-7, atol=1e-8, max_evaluations=10_000)


class TestRk4OfTorchdiffeq(SteppingLaws):
    stepping = Adaptive("rk4", step_size=0.02)


@pytest.mark.parametrize(
    ("rtol", "atol"), [(0, 0), (-1e-3, 1e-3), (1e-3, -1e-3), (math.nan, 1e-3), (1e-3, math.nan)], ids=str
)
def test_negative_tolerances_and_two_zeros_are_refused(rtol: float, atol: float) -> None:
    with pytest.raises(ValueError, match=rf"rtol = {rtol}, atol = {atol}; .*at least one positive"):
        Adaptive(rtol=rtol, atol=atol)


def test_one_tolerance_may_be_zero() -> None:
    for stepping in (Adaptive(rtol=0, atol=1e-6), Adaptive(rtol=1e-6, atol=0)):
        ODEBlock(Constant(Logistic(1.0)), stepping)(states())


@pytest.mark.parametrize("budget", [0, -5, 10.0, True, "100"], ids=repr)
def test_a_budget_that_is_not_a_positive_integer_is_refused(budget: Any) -> None:
    with pytest.raises(ValueError, match=rf"max_evaluations = {budget!r}; .* an integer ≥ 1: pass a positive number"):
        Adaptive(max_evaluations=budget)


def test_an_adaptive_stepping_shows_its_options_and_budget() -> None:
    shown = "Adaptive('dopri5', rtol=0.001, atol=0.0001, max_evaluations=50, first_step=0.1)"
    assert repr(Adaptive("dopri5", 1e-3, 1e-4, 50, first_step=0.1)) == shown


@pytest.mark.parametrize("gradient", [Backprop(), ContinuousAdjoint()], ids=repr)
def test_the_number_of_evaluations_grows_with_the_horizon(gradient: Any) -> None:
    block = ODEBlock(Constant(Logistic(1.0)), Adaptive("dopri5", 1e-6, 1e-6), gradient)
    counts = []
    for horizon in (1.0, 10.0):
        block.theta.horizon = horizon
        block(states())
        counts.append(block.evaluations)
    assert counts[0] < counts[1]


def test_tolerances_are_shown_in_full() -> None:
    assert repr(Adaptive(rtol=0.123456789)) == "Adaptive('dopri5', rtol=0.123456789, atol=0.001)"


TRACED = [Adaptive("dopri5"), Adaptive("dopri5", per_sample=True)]


@pytest.mark.parametrize("stepping", TRACED, ids=repr)
@pytest.mark.parametrize("gradient", [Backprop(), Checkpointed()], ids=repr)
def test_a_solve_whose_steps_depend_on_values_is_not_recorded_by_torch(stepping: Adaptive, gradient: Any) -> None:
    block = ODEBlock(Constant(MLPBranch(2, 3)), stepping, gradient=gradient)
    x = torch.ones(2, 2)
    with pytest.raises(ValueError, match=r"torch.jit.trace was to record Adaptive.*stepping=FixedSteps\(RK4\(\)"):
        torch.jit.trace(block, (x,))
    with pytest.raises(ValueError, match=r"torch.export was to record Adaptive.*stepping=FixedSteps\(RK4\(\)"):
        torch.export.export(block, (x,))


def test_with_fixed_steps_the_same_block_is_recorded() -> None:
    block, x = ODEBlock(Constant(MLPBranch(2, 3)), FixedSteps(RK4(), per_piece=4)), torch.ones(2, 2)
    traced: Any = torch.jit.trace(block, (x,))
    assert torch.equal(traced(x), block(x))
    assert torch.equal(torch.export.export(block, (x,)).module()(x), block(x))


@pytest.mark.parametrize("stepping", TRACED, ids=repr)
def test_on_the_meta_device_there_are_no_values_to_choose_steps_by(stepping: Adaptive) -> None:
    block = ODEBlock(Constant(MLPBranch(2, 3)), stepping).to("meta")
    with pytest.raises(ValueError, match=r"on the meta device, where there are no values.*x\(T\) has the shape of x"):
        block(torch.ones(2, 2, device="meta"))
    block.stepping = FixedSteps(RK4())
    assert block(torch.ones(2, 2, device="meta")).shape == (2, 2)
