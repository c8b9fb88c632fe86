"""Solvers have the names of torchdiffeq, and an unknown name is refused with the nearest one."""

from __future__ import annotations

import pytest

from odenet import FixedSteps
from odenet.blocks.solvers.named import SOLVERS, solver_named
from tests import test_solvers_embedded, test_solvers_runge_kutta
from tests.laws import RungeKuttaLaws


def test_the_laws_of_solvers_are_tested_for_every_one_with_a_name() -> None:
    files = (test_solvers_embedded, test_solvers_runge_kutta)
    classes = [each for file in files for each in vars(file).values() if isinstance(each, type)]
    tested = {type(each.solver) for each in classes if issubclass(each, RungeKuttaLaws) and hasattr(each, "solver")}
    assert set(SOLVERS.values()) <= tested


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_is_found_by_its_name(name: str) -> None:
    assert solver_named(name) == SOLVERS[name]() == FixedSteps(name).solver


def test_an_unknown_solver_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match=r"unknown solver 'mid_point'; did you mean 'midpoint'\? Known: bosh3"):
        solver_named("mid_point")
