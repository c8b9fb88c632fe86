"""Partitioned solvers undo their steps, and are symplectic."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from odenet import RK4, Constant, FixedSteps, HamiltonianBranch, ODEBlock, ReversibleSolver, SymplecticEuler, Verlet
from tests.laws import STEP_COUNTS, slope


def hamiltonian() -> HamiltonianBranch:
    torch.manual_seed(0)
    return HamiltonianBranch(4, norm=nn.Identity).double()


def forced(t: Any, x: Tensor) -> Tensor:
    """Return [z·cos t, -sin(y) + t] for x = [y, z]."""
    y, z = x.chunk(2, dim=1)
    return torch.cat([z * torch.cos(torch.tensor(t)), t - torch.sin(y)], dim=1)


@pytest.mark.parametrize("solver", [SymplecticEuler(), Verlet()], ids=repr)
@pytest.mark.parametrize("h", [0.01, 1.0, -0.3])
def test_a_backward_step_inverts_a_step(solver: ReversibleSolver, h: float) -> None:
    state = solver.start(forced, 0.2, torch.randn(5, 4, dtype=torch.float64))
    found = solver.step_back(forced, 0.2, 0.2 + h, solver.step(forced, 0.2, 0.2 + h, state))
    torch.testing.assert_close(found.halves, state.halves, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("solver", [SymplecticEuler(), Verlet()], ids=repr)
def test_a_step_keeps_areas(solver: ReversibleSolver) -> None:
    def step(x: Tensor) -> Tensor:
        state = solver.start(forced, 0.0, x.unsqueeze(0))
        return solver.finish(solver.step(forced, 0.0, 0.7, state)).squeeze(0)

    jacobian = torch.autograd.functional.jacobian(step, torch.tensor([0.3, -0.8], dtype=torch.float64))
    assert float(torch.linalg.det(jacobian)) == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("solver", [SymplecticEuler(), Verlet()], ids=repr)
def test_it_has_its_order_on_a_hamiltonian_branch(solver: ReversibleSolver) -> None:
    block, x, errors = ODEBlock(Constant(hamiltonian())), torch.randn(2, 4, 5, 5, dtype=torch.float64), []
    with torch.no_grad():
        block.stepping = FixedSteps(RK4(), 400)
        exact = block(x)
        for number in STEP_COUNTS:
            block.stepping = FixedSteps(solver, number)
            errors.append(float((block(x) - exact).norm()))
    # The ReLU of the branch is not smooth, which costs a method of order 2 a little of it.
    assert slope(STEP_COUNTS, errors) == pytest.approx(solver.order, abs=0.2)


def test_compiled_blocks_refuse_a_branch_that_is_not_separable_too() -> None:
    branch = hamiltonian()
    branch.is_separable = False  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    block = ODEBlock(Constant(branch), FixedSteps(Verlet()))
    block.compiled = True
    with pytest.raises(ValueError, match=r"Verlet\(\) was asked for with a branch .*: use a Runge-Kutta method"):
        block(torch.zeros(1, 4, 3, 3, dtype=torch.float64))
