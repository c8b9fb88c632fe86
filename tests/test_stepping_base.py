"""A step starts, projects and finishes, the intervals of steps meet, and `Reversible` refuses irreversible steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from odenet import RK4, Adaptive, Backprop, Constant, Euler, MLPBranch, ODEBlock, Reversible, ReversibleHeun
from odenet.blocks.field import Field
from odenet.blocks.stepping.base import FixedStep, spans, state_is_x
from odenet.blocks.theta.base import Time
from tests.test_stepping_fixed_compiled import points


class Clock(nn.Module):
    """F(t, x) = t, whose solution by the midpoint rule is exact: x(T) = x(0) + T²/2."""

    def forward(self, t: Time, x: Tensor) -> Tensor:
        return torch.zeros_like(x) + t


def test_a_step_starts_the_solver_projects_the_state_and_finishes_the_solver() -> None:
    x, solver, f = points(), ReversibleHeun(), Clock()
    first = FixedStep(solver, 0.0, 0.5, None, first=True)(f, x)
    second = FixedStep(solver, 0.5, 1.0, None, last=True)(f, first)
    expected = solver.step(f, 0.0, 0.5, solver.start(f, 0.0, x))
    assert torch.equal(second, solver.finish(solver.step(f, 0.5, 1.0, expected)))
    assert torch.equal(FixedStep(Euler(), 2.0, 2.5, torch.relu)(f, x), torch.relu(x + 0.5 * 2.0))


def test_the_intervals_of_steps_meet_and_cover_the_whole_interval() -> None:
    found = spans(0.1, 0.7, 3)
    assert [start for start, _ in found] == [0.1, *(end for _, end in found[:-1])]
    assert found[-1][1] == 0.7


def test_the_state_of_a_runge_kutta_method_is_x_and_that_of_a_reversible_one_is_a_pair() -> None:
    assert state_is_x(RK4())
    assert not state_is_x(ReversibleHeun())


def test_by_default_the_steps_of_a_stepping_cannot_be_undone() -> None:
    block = ODEBlock(Constant(MLPBranch(2)), Adaptive("dopri5"))
    with pytest.raises(ValueError, match=r"Adaptive\('dopri5'.*whose steps cannot be undone: use FixedSteps"):
        block.gradient = Reversible()
    assert isinstance(block.gradient, Backprop)


def test_a_reversible_plan_takes_the_steps_of_the_block() -> None:
    x = points()
    block = ODEBlock(Constant(MLPBranch(2)), gradient=Reversible()).to(x.dtype)
    plan = block.stepping.reversible_plan(list(block.theta.pieces()), Field("a block"), x, None)
    assert plan is not None
    assert torch.equal(plan.integrate(Field("a block"), x), block(x))
