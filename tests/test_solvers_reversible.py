"""Reversible solvers invert their steps, have their order, and are as stable as documented."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from odenet import (
    RK4,
    AsynchronousLeapfrog,
    Constant,
    Coupled,
    Euler,
    FixedSteps,
    HamiltonianBranch,
    Heun,
    Leapfrog,
    ODEBlock,
    PiecewiseConstant,
    ReversibleHeun,
    ReversibleSolver,
    SymplecticEuler,
)
from odenet.blocks.solvers.named import SOLVERS
from tests.laws import STEP_COUNTS, SolverLaws, logistic_nodes, slope, states
from tests.problems import Linear, Logistic, jumping_linear


class ReversibleSolverLaws(SolverLaws):
    """The laws of solvers, and the inverse of a step undoes the step for every field."""

    @pytest.mark.parametrize("h", [0.01, 1.0, -0.3])
    def test_a_backward_step_inverts_a_step(self, h: float) -> None:
        solver = self.solver
        assert isinstance(solver, ReversibleSolver)

        def field(t: Any, x: Tensor) -> Tensor:
            return torch.sin(5 * x + t)

        state = solver.start(field, 0.2, states(5, 2))
        after = solver.step(field, 0.2, 0.2 + h, state)
        found = solver.step_back(field, 0.2, 0.2 + h, after)
        torch.testing.assert_close(found.halves, state.halves, rtol=1e-14, atol=1e-14)
        assert not torch.allclose(after.halves[0], state.halves[0])

    def test_for_single_precision_the_pair_is_stored_in_double(self) -> None:
        solver = self.solver
        assert isinstance(solver, ReversibleSolver)
        kinds: set[torch.dtype] = set()

        def field(t: Any, x: Tensor) -> Tensor:
            kinds.add(x.dtype)
            return torch.sin(x)

        state = solver.step(field, 0.0, 0.1, solver.start(field, 0.0, states(5, 2).float()))
        assert {half.dtype for half in state.halves} == {torch.float64}
        assert kinds == {torch.float32}


class TestCoupledEuler(ReversibleSolverLaws):
    solver = Coupled(Euler())


class TestCoupledRK4(ReversibleSolverLaws):
    solver = Coupled(RK4())


class TestAsynchronousLeapfrog(ReversibleSolverLaws):
    solver = AsynchronousLeapfrog()


class TestReversibleHeun(ReversibleSolverLaws):
    solver = ReversibleHeun()


def spread(solver: ReversibleSolver, rate: float, steps: int) -> float:
    """Return |p - q| at the end of x′ = -rate·x on [0, 1], from x = 1."""
    solver, h = solver.fitted(steps), 1 / steps  # pyright: ignore[reportAssignmentType]

    def field(t: Any, x: Tensor) -> Tensor:
        return -rate * x

    state = solver.start(field, 0.0, torch.ones(1, dtype=torch.float64))
    for k in range(steps):
        state = solver.step(field, k * h, (k + 1) * h, state)
    return float((state.halves[0] - state.halves[1]).abs())


@pytest.mark.parametrize("solver", [Coupled(Euler()), Coupled(Heun()), Coupled(RK4())], ids=repr)
def test_a_coupled_pair_stays_together_where_the_flow_contracts(solver: Coupled) -> None:
    assert spread(solver, 4.0, 100) < 3e-2
    assert spread(solver, 4.0, 1000) < 3e-3


def test_reversible_heun_drifts_apart_on_every_flow_that_contracts_and_so_does_a_coupling_of_one() -> None:
    for solver in (ReversibleHeun(), Coupled(Heun(), coupling=1.0)):
        assert spread(solver, 30.0, 1000) > 1e6
    assert spread(Coupled(Heun(), coupling=0.9), 30.0, 1000) < 1e-6


def test_the_default_coupling_gives_the_same_growth_of_rounding_for_every_number_of_steps() -> None:
    for steps in (1, 8, 1024):
        coupling = Coupled(RK4()).fitted(steps).coupling
        assert coupling is not None
        assert coupling**-steps == pytest.approx(math.exp(5))
    assert Coupled(RK4(), 0.9).fitted(7) == Coupled(RK4(), 0.9)


@pytest.mark.parametrize("coupling", [None, 0.6])
@pytest.mark.parametrize("method", [make() for make in SOLVERS.values()], ids=repr)
def test_coupling_keeps_the_order_of_every_runge_kutta_method_at_twice_the_cost(
    method: Any, coupling: float | None
) -> None:
    laws, solver = SolverLaws(), Coupled(method, coupling)
    laws.solver = solver
    assert solver.order == method.order
    if method.order < 5:  # methods whose errors are larger than rounding
        laws.test_it_converges_with_its_order_and_no_faster(jumping_linear)
    block = ODEBlock(PiecewiseConstant(logistic_nodes(2)), FixedSteps(solver, 3))
    block(states())
    assert block.evaluations == 2 * 3 * 2 * method.stages


@pytest.mark.parametrize("coupling", [0, -0.5, 1.01, math.nan], ids=repr)
def test_a_coupling_outside_its_interval_is_refused(coupling: float) -> None:
    with pytest.raises(ValueError, match=rf"coupling = {coupling!r}; .* pass a number in \(0, 1\], near 1 for many"):
        Coupled(RK4(), coupling)


@pytest.mark.parametrize("method", [AsynchronousLeapfrog(), "rk4", RK4], ids=str)
def test_only_runge_kutta_methods_can_be_coupled(method: Any) -> None:
    with pytest.raises(
        TypeError, match=r"it couples the increments of an explicit Runge-Kutta method: pass e\.g\. Euler"
    ):
        Coupled(method)


@pytest.mark.parametrize(("solver", "evaluations"), [(AsynchronousLeapfrog(), 13), (ReversibleHeun(), 24)], ids=repr)
def test_evaluations_of_a_solve(solver: ReversibleSolver, evaluations: int) -> None:
    block = ODEBlock(PiecewiseConstant(logistic_nodes(3)), FixedSteps(solver, 4))
    block(states())
    assert block.evaluations == evaluations


def test_the_leapfrog_solves_the_second_order_equation_with_order_two() -> None:
    matrix = [[-4.0, 1.0], [1.0, -2.0]]
    x = torch.tensor([[1.0, 0.5]], dtype=torch.float64)
    # x″ = A·x with x′(0) = 0 is a first-order system in (x, x′).
    A, zero = torch.tensor(matrix, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    system = torch.cat([torch.cat([zero, torch.eye(2, dtype=torch.float64)], 1), torch.cat([A, zero], 1)])
    exact = (torch.matrix_exp(system) @ torch.cat([x[0], torch.zeros(2)]))[:2]
    errors = []
    for n in STEP_COUNTS:
        block = ODEBlock(Constant(Linear(matrix)), FixedSteps(Leapfrog(), n))
        errors.append(float((block(x).detach()[0] - exact).norm()))
        assert block.evaluations == n
    assert slope(STEP_COUNTS, errors) == pytest.approx(2, abs=0.05)


def test_the_leapfrog_is_the_recursion_of_the_paper_at_the_midpoints_of_its_steps() -> None:
    solver, h, middles = Leapfrog(), 0.1, []

    def field(t: Any, x: Tensor) -> Tensor:
        middles.append(x)
        return -torch.sin(x)

    state = solver.start(field, 0.0, states())
    for k in range(5):
        state = solver.step(field, k * h, (k + 1) * h, state)
    for before, now, after in zip(middles, middles[1:], middles[2:], strict=False):
        torch.testing.assert_close(after - 2 * now + before, -(h**2) * torch.sin(now), rtol=0, atol=1e-15)


def hamiltonian() -> ODEBlock:
    torch.manual_seed(0)
    branch = HamiltonianBranch(4, norm=nn.Identity).double()
    return ODEBlock(Constant(branch, 1.0), FixedSteps(SymplecticEuler(), 4))


def test_symplectic_euler_is_the_hamiltonian_block_of_the_paper() -> None:
    block, x = hamiltonian(), torch.randn(2, 4, 5, 5, dtype=torch.float64)
    branch = block.theta.nodes[0]
    assert isinstance(branch, HamiltonianBranch)
    y, z = x.chunk(2, dim=1)
    for _ in range(4):
        y = y - 0.25 * branch.of_z(0.0, z)
        z = z + 0.25 * branch.of_y(0.0, y)
    torch.testing.assert_close(block(x), torch.cat([y, z], dim=1), rtol=1e-13, atol=1e-13)


def test_symplectic_euler_converges_with_order_one_and_undoes_its_steps() -> None:
    block, x = hamiltonian(), torch.randn(2, 4, 5, 5, dtype=torch.float64)
    with torch.no_grad():
        block.stepping = FixedSteps(RK4(), 200)
        exact, errors = block(x), []
        for n in STEP_COUNTS:
            block.stepping = FixedSteps(SymplecticEuler(), n)
            errors.append(float((block(x) - exact).norm()))
        assert slope(STEP_COUNTS, errors) == pytest.approx(1, abs=0.05)
        solver, field = SymplecticEuler(), block.theta.nodes[0]
        state = solver.start(field, 0.0, x)
        found = solver.step_back(field, 0.0, 0.5, solver.step(field, 0.0, 0.5, state))
        torch.testing.assert_close(found.halves, state.halves, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 5, 4, 4)], ids=str)
def test_a_state_without_two_halves_is_refused(shape: tuple[int, ...]) -> None:
    block = ODEBlock(Constant(Logistic(1.0)), FixedSteps(SymplecticEuler()))
    with pytest.raises(
        ValueError, match=r"SymplecticEuler was given a state of shape .* pass an even number of channels"
    ):
        block(torch.zeros(shape, dtype=torch.float64))
