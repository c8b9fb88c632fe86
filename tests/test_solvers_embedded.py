"""Embedded pairs have the coefficients of torchdiffeq and their orders, under error control and fixed steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import partial
from typing import Any

import pytest
import torch

from odenet import Bosh3, ButcherTableau, Constant, Dopri5, FixedSteps, ODEBlock, RungeKutta, Tsit5
from odenet.blocks.per_sample.steps import EmbeddedSteps
from odenet.blocks.solvers.embedded import DOPRI5, HEUN_EULER, PAIRS
from odenet.blocks.solvers.runge_kutta import evaluate_stages
from tests.laws import RungeKuttaLaws, slope, states
from tests.problems import Bernoulli
from tests.test_solvers_tableau import replace_fields


def solve_in_forty_digits(solver: Any, f: Callable[[Decimal, Decimal], Decimal], x: Decimal, n: int) -> Decimal:
    """Return x(1) after n steps with the tableau of a solver, in decimal arithmetic of forty digits."""
    stages = [(decimal(c), list(map(decimal, row))) for c, row in zip(solver.tableau.c, solver.tableau.a, strict=True)]
    weights, h = list(map(decimal, solver.tableau.b)), 1 / Decimal(n)

    def sum_of(w: Sequence[Any], k: list[Decimal]) -> Decimal:
        return sum((a * b for a, b in zip(w, k, strict=False)), Decimal(0))

    for step in range(n):
        t0 = step * h
        moved = partial(lambda x, w, k: x + h * sum_of(w, k), x)
        slopes, _ = evaluate_stages(stages[: solver.stages], f, partial(lambda t0, c: t0 + c * h, t0), moved, [])  # pyright: ignore[reportArgumentType]
        x = x + h * sum_of(weights, slopes)
    return x


def decimal(number: Fraction | int) -> Decimal:
    return Decimal(Fraction(number).numerator) / Fraction(number).denominator


ORDER_FIVE = {
    "linear": (lambda _, x: -2 * x, Decimal(1), lambda: Decimal(-2).exp()),
    "logistic": (lambda _, x: 3 * x * (1 - x), Decimal("0.1"), lambda: 1 / (1 + 9 * Decimal(-3).exp())),
    "moving": (lambda t, x: 2 * t * x, Decimal(1), lambda: Decimal(1).exp()),
}
"""Problems: vector field, x(0) and x(1)."""


class OrderFiveLaws(RungeKuttaLaws):
    """The laws for methods of order 5, whose order can only be measured with more than sixteen digits."""

    steps: Mapping[str, Sequence[int]] = dict.fromkeys(ORDER_FIVE, (512, 1024))
    """Numbers of steps, for each problem that shows the order."""

    def test_it_converges_with_its_order_and_no_faster(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for name, steps in self.steps.items():
            f, x, exact = ORDER_FIVE[name]
            with localcontext(prec=40):
                errors = [float(abs(solve_in_forty_digits(self.solver, f, x, n) - exact())) for n in steps]
            assert slope(steps, errors) == pytest.approx(5, abs=0.05), name


class TestDopri5(OrderFiveLaws):
    solver = Dopri5()


class TestTsit5(OrderFiveLaws):
    solver = Tsit5()
    # The published decimals are too few for the other problems to show the order.
    steps: Mapping[str, Sequence[int]] = {"linear": (96, 128, 192)}


class TestBosh3(RungeKuttaLaws):
    solver = Bosh3()


@pytest.mark.parametrize("name", ["dopri5", "bosh3"])
def test_a_pair_with_a_name_of_torchdiffeq_has_its_coefficients(name: str) -> None:
    from torchdiffeq._impl.odeint import SOLVERS

    theirs, ours = SOLVERS[name].tableau, PAIRS[name]
    assert [c for c, _ in ours.stages[1:]] == pytest.approx(theirs.alpha.tolist(), rel=1e-15)
    for (_, row), beta in zip(ours.stages[1:], theirs.beta, strict=True):
        assert list(row) == pytest.approx(beta.tolist(), rel=1e-15)
    assert list(ours.error_weights) == pytest.approx(theirs.c_error.tolist(), rel=1e-12)


def test_adaptive_heun_is_torchdiffeqs_with_the_slope_at_its_end() -> None:
    from torchdiffeq._impl.odeint import SOLVERS

    theirs = SOLVERS["adaptive_heun"].tableau
    assert [row for _, row in HEUN_EULER.stages] == [(), (1.0,), tuple(theirs.c_sol.tolist())]
    assert HEUN_EULER.error_weights == (
        *(-theirs.c_error).tolist(),
        0.0,
    )  # the sign of an error estimate does not matter


def test_the_midpoint_of_dopri5_is_torchdiffeqs() -> None:
    from torchdiffeq._impl.dopri5 import DPS_C_MID

    assert list(DOPRI5.middle_weights) == pytest.approx(DPS_C_MID.tolist(), rel=1e-14)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_the_claimed_orders_are_the_highest_that_hold(pair: ButcherTableau) -> None:
    for claim in ("order", "embedded_order"):
        with pytest.raises(ValueError, match="correct them, or claim a lower order"):
            replace_fields(pair, **{claim: getattr(pair, claim) + 1})


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_the_last_slope_is_that_at_the_end_exactly(pair: ButcherTableau) -> None:
    assert pair.stages[-1].c == 1.0
    assert sum(c == 1.0 for c, _ in pair.stages) == (1 if pair.order == 3 else 2)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_every_pair_is_first_same_as_last(pair: ButcherTableau) -> None:
    assert pair.is_first_same_as_last
    assert len(pair.error) == len(pair.b)


@pytest.mark.parametrize("solver", [Dopri5(), Tsit5(), Bosh3()], ids=repr)
def test_a_fixed_step_does_not_evaluate_the_slope_for_the_error_only(solver: RungeKutta) -> None:
    assert solver.stages == len(solver.tableau.b) - 1


def test_fixed_steps_of_dopri5_are_those_of_torchdiffeq() -> None:
    block = ODEBlock(Constant(Bernoulli(0.7, 1.5)), FixedSteps(Dopri5(), per_piece=1))
    x = states()
    one = EmbeddedSteps(DOPRI5)
    t0, t1 = torch.zeros(len(x), 1, dtype=x.dtype), torch.ones(len(x), 1, dtype=x.dtype)
    torch.testing.assert_close(block(x) - x, one.increment(block.theta.nodes[0], t0, t1, x), rtol=1e-14, atol=1e-15)
