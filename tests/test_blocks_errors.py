"""Unknown names are answered with the nearest known name, and warnings share one base class."""

from __future__ import annotations

import pytest

from odenet import BudgetWarning, NonFiniteState
from odenet.blocks.errors import OdenetWarning, unknown_name


@pytest.mark.parametrize(("asked", "nearest"), [("dopri6", "dopri5"), ("rk", "rk4"), ("Euler", "euler")])
def test_an_unknown_name_is_answered_with_the_nearest_and_all_known_ones(asked: str, nearest: str) -> None:
    error = unknown_name("solver", asked, ["rk4", "euler", "dopri5"])
    assert str(error) == f"unknown solver {asked!r}; did you mean {nearest!r}? Known: dopri5, euler, rk4."


@pytest.mark.parametrize("asked", ["runge", "", 5, None])
def test_nothing_is_suggested_if_no_known_name_is_near(asked: object) -> None:
    assert str(unknown_name("solver", asked, ["euler"])) == f"unknown solver {asked!r}. Known: euler."


def test_an_unknown_name_is_a_value_error_and_a_non_finite_state_an_arithmetic_error() -> None:
    assert isinstance(unknown_name("solver", "x", []), ValueError)
    assert issubclass(NonFiniteState, ArithmeticError)


def test_warnings_of_odenet_can_be_filtered_by_their_class() -> None:
    assert issubclass(BudgetWarning, OdenetWarning)
    assert issubclass(OdenetWarning, UserWarning)
