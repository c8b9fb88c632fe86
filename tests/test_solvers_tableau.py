"""A tableau refuses the first order condition that its coefficients break, of any order, by name."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from odenet import ButcherTableau
from odenet.blocks.solvers.embedded import BOSH3, DOPRI5, TSIT5
from odenet.blocks.solvers.tableau import density, rooted_trees

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)


def replace_fields(tableau: ButcherTableau, **changes: Any) -> ButcherTableau:
    names = ("order", "a", "b", "error", "embedded_order", "middle", "rounding")
    return ButcherTableau(**{name: getattr(tableau, name) for name in names} | changes)


def test_rooted_trees_are_as_many_as_there_are() -> None:
    assert [len(rooted_trees(nodes)) for nodes in range(1, 9)] == [1, 1, 2, 4, 9, 20, 48, 115]
    assert all(len(set(rooted_trees(nodes))) == len(rooted_trees(nodes)) for nodes in range(1, 8))


def test_densities_are_those_of_the_order_conditions() -> None:
    bush, tall = ((),) * 4, ((((),),),)
    assert density(()) == 1
    assert density(bush) == 5
    assert density(tall) == 24
    assert sorted(density(tree) for tree in rooted_trees(4)) == [4, 8, 12, 24]


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
def test_an_order_that_no_method_or_not_this_one_has_is_refused(order: Any) -> None:
    with pytest.raises(
        (TypeError, ValueError),
        match=rf"a tableau of order {order} has Σ|order = {order}; .*claim 1 or more|order must be .*, got {order}",
    ):
        ButcherTableau(order=order, a=CLASSICAL_A, b=CLASSICAL_B)


@pytest.mark.parametrize("a", [[[], [1, 1]], [[]], [[0], [1]]], ids=["implicit", "too few rows", "a first row"])
def test_rows_that_make_no_explicit_method_are_refused(a: Any) -> None:
    with pytest.raises(ValueError, match=r"rows of A have lengths .* for 2 stages.*strictly lower triangle"):
        ButcherTableau(order=1, a=a, b=[HALF, HALF])


def test_a_wrong_coefficient_is_refused_with_the_condition_that_fails() -> None:
    with pytest.raises(ValueError, match=r"order 3 has Σ b = 1; these coefficients give 10/9"):
        replace_fields(BOSH3, b=[Fraction(2, 9), Fraction(1, 3), Fraction(5, 9), 0])
    error = [Fraction(1, 100), *DOPRI5.error[1:]]
    with pytest.raises(ValueError, match=r"order 4 has Σ \(b - e\) = 1"):
        replace_fields(DOPRI5, error=error)
    with pytest.raises(ValueError, match=r"order 4 has Σ m = 1/2"):
        replace_fields(DOPRI5, middle=[Fraction(1, 3), *DOPRI5.middle[1:]])


def test_decimals_are_held_to_their_rounding() -> None:
    with pytest.raises(ValueError, match="correct them"):
        replace_fields(TSIT5, rounding=Fraction(0))


@pytest.mark.parametrize("name", ["error", "middle"])
def test_weights_that_do_not_fit_the_stages_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} has 2 weights for 4 stages; every stage has one: give 4, or none"):
        replace_fields(BOSH3, **{name: [Fraction(0)] * 2})


def test_a_condition_of_order_five_is_named() -> None:
    a = [list(row) for row in DOPRI5.a]
    with pytest.raises(ValueError, match=r"order 5 has Σ b·c⁴ = 1/5; these coefficients give"):
        ButcherTableau(5, [*CLASSICAL_A, [0, 0, 0, 1]], [Fraction(1, 6), THIRD, THIRD, Fraction(1, 6), 0])
    assert ButcherTableau(5, a, DOPRI5.b).order == 5
