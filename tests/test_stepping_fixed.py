"""Fixed steps have equal length, meet exactly, and are followed by the projection."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from odenet import (
    RK4,
    Adaptive,
    BasicBranch,
    Constant,
    Euler,
    FixedSteps,
    Midpoint,
    ODEBlock,
    PiecewiseConstant,
    Solver,
)
from tests.laws import Spy, SteppingLaws, logistic_nodes, states
from tests.problems import Logistic


class TestFixedSteps(SteppingLaws):
    stepping = FixedSteps(RK4(), per_piece=16)


class TestFixedStepsByName(SteppingLaws):
    stepping = FixedSteps("midpoint", per_piece=300)


@pytest.mark.parametrize(("per_piece", "horizon"), [(1, 4.0), (3, 4.0), (5, 0.1)])
def test_fixed_steps_have_equal_length_and_each_begins_at_the_end_of_the_last(per_piece: int, horizon: float) -> None:
    ends: list[tuple[float, float]] = []

    class Recording(Solver):
        order = 0

        def step(self, f: Any, t0: float, t1: float, state: Any) -> Any:
            ends.append((t0, t1))
            return state

    ODEBlock(PiecewiseConstant(logistic_nodes(4), horizon), FixedSteps(Recording(), per_piece))(states())
    assert len(ends) == 4 * per_piece
    assert (ends[0][0], ends[-1][1]) == (0, horizon)
    assert [t1 for _, t1 in ends[:-1]] == [t0 for t0, _ in ends[1:]]
    assert [t1 - t0 for t0, t1 in ends] == pytest.approx([horizon / (4 * per_piece)] * len(ends), rel=1e-12)


def test_times_under_fixed_steps_are_python_floats() -> None:
    kinds: set[type] = set()

    class Kinds(Logistic):
        def forward(self, t: Any, x: Tensor) -> Tensor:
            kinds.add(type(t))
            return super().forward(t, x)

    ODEBlock(Constant(Kinds(1.0)), FixedSteps(RK4(), 2))(states())
    assert kinds == {float}


def test_more_steps_on_the_same_horizon_are_smaller() -> None:
    spy = Spy(Logistic(1.0))
    ODEBlock(Constant(spy, horizon=2.0), FixedSteps(Euler(), per_piece=8))(states())
    assert spy.times == [0.25 * k for k in range(8)]


@pytest.mark.parametrize("per_piece", [0, -1, 1.5, 2.0, True, "2", None], ids=repr)
def test_a_number_of_steps_that_is_not_a_positive_integer_is_refused(per_piece: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"per_piece must be a whole number.*, got {per_piece!r}"):
        FixedSteps(Euler(), per_piece=per_piece)


@pytest.mark.parametrize("solver", [5, Euler, torch.relu], ids=["number", "class", "function"])
def test_a_solver_of_the_wrong_type_is_refused(solver: Any) -> None:
    with pytest.raises(TypeError, match=r"it needs a Solver object: pass e\.g\. Euler\(\) or 'midpoint'"):
        FixedSteps(solver)


def test_an_unknown_solver_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown solver 'eular'; did you mean 'euler'\?"):
        FixedSteps("eular")


class Pair(Euler):
    """Euler's method with a `start` of its own, as if its state were more than x."""

    def start(self, f: Any, t0: float, x: Tensor) -> Any:
        return x


@pytest.mark.parametrize(
    ("stepping", "message"),
    [
        (Adaptive("dopri5"), r"asked for with Adaptive\('dopri5'.* a function does not define them: use Nonnegative"),
        (
            FixedSteps(Pair()),
            r"asked for with Pair\(\), whose state is more than x; .*: use a Runge-Kutta solver, or no",
        ),
    ],
    ids=["adaptive", "pair"],
)
def test_a_projection_that_the_stepping_does_not_support_is_refused(stepping: Any, message: str) -> None:
    theta = PiecewiseConstant([BasicBranch(2, activation="post")])
    with pytest.raises(ValueError, match=message):
        ODEBlock(theta, stepping, projection=torch.relu)
    block = ODEBlock(theta, projection=torch.relu)
    with pytest.raises(ValueError, match=message):
        block.stepping = stepping
    assert block.stepping == FixedSteps()


def test_a_projection_follows_every_step() -> None:
    projected: list[Tensor] = []

    def project(x: Tensor) -> Tensor:
        projected.append(x)
        return x.clamp(0, 0.5)

    block = ODEBlock(PiecewiseConstant(logistic_nodes(3)), FixedSteps(Midpoint(), 4), projection=project)
    x = states()
    for piece in PiecewiseConstant(list(block.theta.nodes)).pieces():
        for k in range(4):
            h = 0.25
            x = Midpoint().step(piece.field, piece.start + k * h, piece.start + (k + 1) * h, x).clamp(0, 0.5)
    assert torch.equal(block(states()), x)
    assert len(projected) == 12


def test_steppings_are_compared_by_their_settings() -> None:
    assert FixedSteps("rk4", 2) == FixedSteps(RK4(), 2)
    assert FixedSteps(RK4(), 2) != FixedSteps(RK4(), 3)
    assert FixedSteps(RK4(), 2) != FixedSteps(Euler(), 2)
    assert Adaptive("dopri5", 1e-3) != Adaptive("dopri5", 1e-4)
    assert Adaptive("dopri5") != Adaptive("dopri5", first_step=0.1)
    assert FixedSteps() != Adaptive()
