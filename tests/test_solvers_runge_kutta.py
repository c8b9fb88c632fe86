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
from odenet.blocks.solvers.runge_kutta import SOLVERS, solver_named
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
    """x[k+1] = x[k-1] + 2·h·f(x[k]): order 2, and it carries the state before as well."""

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


def test_the_contract_is_broken_by_an_order_that_is_overstated() -> None:
    class Overstated(Euler):
        pass

    Overstated.order = 2
    laws = SolverLaws()
    laws.solver = Overstated()
    with pytest.raises(AssertionError):
        laws.test_it_converges_with_its_order_and_no_faster(linear)


def test_every_solver_with_a_name_is_tested_here() -> None:
    tested = {type(laws.solver) for laws in RungeKuttaLaws.__subclasses__() if hasattr(laws, "solver")}
    assert set(SOLVERS.values()) <= tested


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_is_had_by_its_name(name: str) -> None:
    assert solver_named(name) == SOLVERS[name]() == FixedSteps(name).solver


def test_an_unknown_solver_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match=r"unknown solver 'mid_point'; did you mean 'midpoint'\? Known: euler"):
        solver_named("mid_point")


def test_euler_of_step_one_adds_the_slope_and_multiplies_nothing() -> None:
    x, slope = states().float() * 1e-3, states().float() + 7
    assert torch.equal(Euler().step(lambda *_: slope, 3.0, 4.0, x), x + slope)


def test_rk4_is_the_three_eighths_rule_and_its_classical_namesake_is_not() -> None:
    assert list(RK4.tableau.b) == [Fraction(1, 8), Fraction(3, 8), Fraction(3, 8), Fraction(1, 8)]
    assert RK4.tableau.c == (0, THIRD, 2 * THIRD, 1)
    assert list(ClassicalRK4.tableau.b) == [Fraction(1, 6), THIRD, THIRD, Fraction(1, 6)]
    assert ClassicalRK4.tableau.c == (0, HALF, HALF, 1)


CLASSICAL_A: Any = [[], [HALF], [0, HALF], [0, 0, 1]]
CLASSICAL_B: Any = [Fraction(1, 6), THIRD, THIRD, Fraction(1, 6)]
KUTTA_B: Any = [Fraction(1, 8), Fraction(3, 8), Fraction(3, 8), Fraction(1, 8)]


@pytest.mark.parametrize(
    ("order", "a", "b", "broken"),
    [
        (1, [[]], [2], "Σ b = 1; these coefficients give 2"),
        (2, [[], [1]], [1, 0], "Σ b·c = 1/2; these coefficients give 0"),
        (3, [[], [HALF], [0, HALF]], [0, 1, 0], "Σ b·c² = 1/3; these coefficients give 1/4"),
        (3, [[], [THIRD], [2 * THIRD, 0]], [Fraction(1, 4), 0, Fraction(3, 4)], "Σ b·A·c = 1/6; these .* give 0"),
        (4, [[], [THIRD], [0, 2 * THIRD]], [Fraction(1, 4), 0, Fraction(3, 4)], "Σ b·c³ = 1/4; these .* give 2/9"),
        (4, [[], [HALF], [HALF / 2, HALF / 2], [-HALF, HALF, 1]], CLASSICAL_B, "Σ b·c·A·c = 1/8; these .* give 7/48"),
        (4, [[], [THIRD], [-THIRD, 1], [HALF, 0, HALF]], KUTTA_B, "Σ b·A·c² = 1/12; these .* give 5/72"),
        (4, [[], [HALF], [0, HALF], [0, HALF, HALF]], CLASSICAL_B, "Σ b·A·A·c = 1/24; these .* give 1/48"),
    ],
    ids=["b", "bc", "bcc", "bAc", "bccc", "bcAc", "bAcc", "bAAc"],
)
def test_wrong_coefficients_are_refused_by_the_first_order_condition_that_they_break(
    order: int, a: Any, b: Any, broken: str
) -> None:
    with pytest.raises(ValueError, match=rf"a tableau of order {order} has {broken}.*claim a lower order"):
        ButcherTableau(order=order, a=a, b=b)


def test_coefficients_may_satisfy_more_than_they_claim() -> None:
    assert ButcherTableau(order=2, a=CLASSICAL_A, b=CLASSICAL_B).order == 2


@pytest.mark.parametrize("order", [0, 5, 2.5, -1])
def test_an_order_that_is_not_checked_is_refused(order: Any) -> None:
    with pytest.raises(
        (TypeError, ValueError),
        match=rf"order = {order}; the conditions of orders 1 to 4.*claim one of these|order={order} cannot be",
    ):
        ButcherTableau(order=order, a=CLASSICAL_A, b=CLASSICAL_B)


@pytest.mark.parametrize("a", [[[], [1, 1]], [[]], [[0], [1]]], ids=["implicit", "too few rows", "a first row"])
def test_rows_that_make_no_explicit_method_are_refused(a: Any) -> None:
    with pytest.raises(ValueError, match=r"rows of A have lengths .* for 2 stages.*strictly lower triangle"):
        ButcherTableau(order=1, a=a, b=[HALF, HALF])


def test_a_stage_may_leave_the_state_where_it_was() -> None:
    class Repeated(RungeKutta):
        tableau = ButcherTableau(order=1, a=[[], [0]], b=[HALF, HALF])

    theta = Constant(Logistic(1.0))
    assert torch.equal(ODEBlock(theta, FixedSteps(Repeated()))(states()), ODEBlock(theta)(states()))


def test_the_last_stage_of_a_step_is_at_its_end_to_the_last_bit() -> None:
    times: list[float] = []
    start, end = 0.3, 0.9
    assert start + (end - start) > end

    def field(t: float, x: Tensor) -> Tensor:
        times.append(t)
        return x

    Heun().step(field, start, end, states())
    assert times == [start, end]
