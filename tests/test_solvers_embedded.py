from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from odenet.blocks.solvers.embedded import BOSH3, DOPRI5, HEUN_EULER, PAIRS, TSIT5, EmbeddedPair, density, rooted_trees


def test_rooted_trees_are_as_many_as_there_are() -> None:
    assert [len(rooted_trees(nodes)) for nodes in range(1, 9)] == [1, 1, 2, 4, 9, 20, 48, 115]
    assert all(len(set(rooted_trees(nodes))) == len(rooted_trees(nodes)) for nodes in range(1, 8))


def test_densities_are_those_of_the_order_conditions() -> None:
    bush, tall = ((),) * 4, ((((),),),)
    assert density(()) == 1
    assert density(bush) == 5
    assert density(tall) == 24
    assert sorted(density(tree) for tree in rooted_trees(4)) == [4, 8, 12, 24]


@pytest.mark.parametrize("name", ["dopri5", "bosh3"])
def test_a_name_that_torchdiffeq_has_means_its_numbers(name: str) -> None:
    from torchdiffeq._impl.odeint import SOLVERS

    theirs, ours = SOLVERS[name].tableau, PAIRS[name]
    assert list(ours.c[1:]) == pytest.approx(theirs.alpha.tolist(), rel=1e-15)
    for row, beta in zip(ours.rows, theirs.beta, strict=True):
        assert list(row) == pytest.approx(beta.tolist(), rel=1e-15)
    assert list(ours.error_weights) == pytest.approx(theirs.c_error.tolist(), rel=1e-12)


def test_adaptive_heun_is_torchdiffeqs_with_the_slope_at_its_end() -> None:
    from torchdiffeq._impl.odeint import SOLVERS

    theirs = SOLVERS["adaptive_heun"].tableau
    assert HEUN_EULER.rows == ((1.0,), tuple(theirs.c_sol.tolist()))
    assert HEUN_EULER.error_weights == (*(-theirs.c_error).tolist(), 0.0)  # an error has no sign


def test_the_midpoint_of_dopri5_is_torchdiffeqs() -> None:
    from torchdiffeq._impl.dopri5 import DPS_C_MID

    assert list(DOPRI5.middle_weights) == pytest.approx(DPS_C_MID.tolist(), rel=1e-14)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_the_claimed_orders_are_the_highest_that_hold(pair: EmbeddedPair) -> None:
    for claim in ("order", "embedded_order"):
        with pytest.raises(ValueError, match="correct them, or claim a lower order"):
            replace_fields(pair, **{claim: getattr(pair, claim) + 1})


def test_a_wrong_coefficient_is_refused_with_the_condition_that_fails() -> None:
    wrong = [*BOSH3.a[:-1], [Fraction(2, 9), Fraction(1, 3), Fraction(5, 9)]]
    with pytest.raises(ValueError, match=r"b of order 3 meet Σ b·Φ\(τ\) = 1 for the tree τ = \(\);.* give 10/9"):
        replace_fields(BOSH3, a=wrong)
    error = [Fraction(1, 100), *DOPRI5.error[1:]]
    with pytest.raises(ValueError, match=r"weights b - e of order 4"):
        replace_fields(DOPRI5, error=error)
    with pytest.raises(ValueError, match=r"weights m of order 4 meet Σ m·Φ\(τ\) = 1/2"):
        replace_fields(DOPRI5, middle=[Fraction(1, 3), *DOPRI5.middle[1:]])


def test_decimals_are_held_to_their_rounding() -> None:
    with pytest.raises(ValueError, match="correct them"):
        replace_fields(TSIT5, rounding=Fraction(0))


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_the_last_slope_is_that_at_the_end_exactly(pair: EmbeddedPair) -> None:
    assert pair.c[-1] == 1.0
    assert sum(c == 1.0 for c in pair.c) == (1 if pair.order == 3 else 2)


def test_rows_that_make_no_explicit_method_are_refused() -> None:
    with pytest.raises(ValueError, match=r"lengths \[1, 1\] for 3 error and 0 middle weights; .*the last row being b"):
        EmbeddedPair(2, 1, a=[[Fraction(1)], [Fraction(1)]], error=HEUN_EULER.error)


def replace_fields(pair: EmbeddedPair, **changes: Any) -> EmbeddedPair:
    given = {name: getattr(pair, name) for name in ("order", "embedded_order", "a", "error", "middle", "rounding")}
    return EmbeddedPair(**given | changes)
