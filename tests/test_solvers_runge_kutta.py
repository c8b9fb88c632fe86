"""A Runge-Kutta method converges with its order, and evaluates its stages at the times of its tableau."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor

from odenet import (
    RK4,
    ButcherTableau,
    ClassicalRK4,
    Constant,
    Euler,
    FixedSteps,
    Heun,
    Heun3,
    Midpoint,
    ODEBlock,
    Ralston,
    RungeKutta,
    Solver,
)
from tests.laws import RungeKuttaLaws, SolverLaws, states
from tests.problems import Bernoulli, Logistic, linear

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)


class TestEuler(RungeKuttaLaws):
    solver = Euler()


class TestMidpoint(RungeKuttaLaws):
    solver = Midpoint()


class TestHeun(RungeKuttaLaws):
    solver = Heun()


class TestRalston(RungeKuttaLaws):
    solver = Ralston()


class TestHeun3(RungeKuttaLaws):
    solver = Heun3()


class TestRK4(RungeKuttaLaws):
    solver = RK4()


class TestClassicalRK4(RungeKuttaLaws):
    solver = ClassicalRK4()


class Leapfrog(Solver):
    """x[k+1] = x[k-1] + 2·h·f(x[k]): a method of order 2 whose state includes the state before."""

    order = 2

    def start(self, f: Any, t0: float, x: Tensor) -> Any:
        return x, None

    def step(self, f: Any, t0: float, t1: float, state: Any) -> Any:
        x, before = state
        if before is None:
            middle = x + (t1 - t0) / 2 * f(t0, x)
            return x + (t1 - t0) * f((t0 + t1) / 2, middle), x
        return before + 2 * (t1 - t0) * f(t0, x), x

    def finish(self, state: Any) -> Tensor:
        return state[0]


def test_a_solver_may_carry_more_than_x() -> None:
    theta = Constant(Bernoulli(0.7, 1.5))
    blocks = [ODEBlock(theta, FixedSteps(solver, 200)) for solver in (Leapfrog(), RK4())]
    found, expected = (block(states()) for block in blocks)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert blocks[0].evaluations == 201


def test_the_laws_fail_for_an_overstated_order() -> None:
    class Overstated(Euler):
        pass

    Overstated.order = 2
    laws = SolverLaws()
    laws.solver = Overstated()
    with pytest.raises(AssertionError):
        laws.test_it_converges_with_its_order_and_no_faster(linear)


def test_euler_with_step_one_adds_the_slope_without_multiplication() -> None:
    x, slope = states().float() * 1e-3, states().float() + 7
    assert torch.equal(Euler().step(lambda *_: slope, 3.0, 4.0, x), x + slope)


def test_rk4_is_the_three_eighths_rule_and_classical_rk4_is_not() -> None:
    assert list(RK4.tableau.b) == [Fraction(1, 8), Fraction(3, 8), Fraction(3, 8), Fraction(1, 8)]
    assert RK4.tableau.c == (0, THIRD, 2 * THIRD, 1)
    assert list(ClassicalRK4.tableau.b) == [Fraction(1, 6), THIRD, THIRD, Fraction(1, 6)]
    assert ClassicalRK4.tableau.c == (0, HALF, HALF, 1)


def test_a_stage_may_use_the_state_unchanged() -> None:
    class Repeated(RungeKutta):
        tableau = ButcherTableau(order=1, a=[[], [0]], b=[HALF, HALF])

    theta = Constant(Logistic(1.0))
    assert torch.equal(ODEBlock(theta, FixedSteps(Repeated()))(states()), ODEBlock(theta)(states()))


def test_the_last_stage_of_a_step_is_exactly_at_its_end() -> None:
    times: list[float] = []
    start, end = 0.3, 0.9
    assert start + (end - start) > end

    def field(t: float, x: Tensor) -> Tensor:
        times.append(t)
        return x

    Heun().step(field, start, end, states())
    assert times == [start, end]
