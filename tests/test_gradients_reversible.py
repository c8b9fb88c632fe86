from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from odenet import (
    RK4,
    Adaptive,
    AsynchronousLeapfrog,
    Backprop,
    BasicBranch,
    Constant,
    Coupled,
    Euler,
    FixedSteps,
    HamiltonianBranch,
    Heun,
    Leapfrog,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    Reversible,
    ReversibleHeun,
    ReversibleSolver,
    Solver,
    SymmetricBranch,
    SymplecticEuler,
)
from odenet.blocks.gradients.reversible import DriftWarning
from odenet.blocks.solvers.named import SOLVERS
from odenet.measure import peak_bytes
from tests.laws import STEP_COUNTS, RecomputationLaws, Spy, logistic_nodes, slope, states
from tests.problems import Logistic
from tests.test_gradients_checkpointed import THETAS, Meter
from tests.test_solvers_runge_kutta import Leapfrog as TwoStep

REVERSIBLE = [Coupled(Euler()), Coupled(RK4()), AsynchronousLeapfrog(), ReversibleHeun(), Leapfrog()]


class ReversibleLaws(RecomputationLaws):
    gradient = Reversible()
    closeness = 1e-12
    closeness_on_random_branches = 1e-9
    """Of steps far too large for the rates drawn: rounding grows as they are undone."""


class TestReversibleCoupledRK4(ReversibleLaws):
    stepping = FixedSteps(Coupled(RK4()), 3)
    fine = FixedSteps(Coupled(RK4()), 32)


class TestReversibleCoupledEuler(ReversibleLaws):
    stepping = FixedSteps(Coupled(Euler()), 2)
    fine = FixedSteps(Coupled(Euler()), 20)


class TestReversibleAsynchronousLeapfrog(ReversibleLaws):
    stepping = FixedSteps(AsynchronousLeapfrog(), 3)
    fine = FixedSteps(AsynchronousLeapfrog(), 32)


class TestReversibleHeunBySteps(ReversibleLaws):
    stepping = FixedSteps(ReversibleHeun(), 3)
    fine = FixedSteps(ReversibleHeun(), 32)


def gradients(block: ODEBlock, x: Tensor, gradient: Any) -> Tensor:
    """In x and θ, as one vector."""
    block.gradient = gradient
    x = x.clone().requires_grad_()
    found = torch.autograd.grad(block(x).square().sum(), [x, *block.parameters()])
    return torch.cat([g.double().ravel() for g in found])


def error(block: ODEBlock, x: Tensor) -> float:
    """Relative, of the gradient, against backpropagation through the same steps."""
    exact = gradients(block, x, Backprop())
    return float((gradients(block, x, Reversible()) - exact).norm() / exact.norm())


@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("solver", [*REVERSIBLE, *(Coupled(make()) for make in SOLVERS.values())], ids=repr)  # pyright: ignore[reportArgumentType]
def test_gradients_are_those_of_the_same_steps_for_every_solver_and_theta(solver: Solver, theta: str) -> None:
    block, x = ODEBlock(THETAS[theta](), FixedSteps(solver, 5)), torch.randn(7, 2)
    assert error(block, x) < 2e-7
    assert error(block.double(), x.double()) < 1e-13


@pytest.mark.parametrize("steps", [8, 64, 1024])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 2e-6), (torch.float64, 1e-12)], ids=str)
def test_from_8_to_1024_steps_rounding_stays_far_below_the_digits_of_the_state(
    steps: int, dtype: torch.dtype, bound: float
) -> None:
    torch.manual_seed(0)
    theta = PiecewiseConstant([MLPBranch(4, 8) for _ in range(8)], 2.0).to(dtype)
    block = ODEBlock(theta, FixedSteps(Coupled(Euler()), steps // 8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert error(block, torch.randn(16, 4, dtype=dtype)) < bound


@pytest.mark.parametrize("solver", [Euler(), Heun(), RK4()], ids=repr)
def test_a_runge_kutta_method_is_coupled_and_its_output_moves_by_no_more_than_its_order(solver: Any) -> None:
    x, moved = states(), []
    block = ODEBlock(PiecewiseConstant(logistic_nodes(2), 1.0))
    for n in STEP_COUNTS:
        block.stepping, block.gradient = FixedSteps(solver, n), Backprop()
        with torch.no_grad():
            plain = block(x)
            block.gradient = Reversible()
            moved.append(float((block(x) - plain).norm()))
    assert slope(STEP_COUNTS, moved) > solver.order - 0.05


def test_reversible_of_a_plain_method_is_backprop_through_the_coupled_one() -> None:
    block, x = ODEBlock(PiecewiseConstant(logistic_nodes(3)), FixedSteps(Euler(), 4)), states()
    found = gradients(block, x, Reversible(coupling=0.9))
    block.gradient = Backprop()
    block.stepping = FixedSteps(Coupled(Euler(), 0.9), 4)
    torch.testing.assert_close(found, gradients(block, x, Backprop()), rtol=1e-11, atol=1e-11)


def test_outputs_are_the_same_with_and_without_a_gradient() -> None:
    block, x = ODEBlock(PiecewiseConstant(logistic_nodes(3)), FixedSteps(Euler(), 4), Reversible()), states()
    with torch.no_grad():
        expected = block(x)
    assert torch.equal(block(x), expected)


def test_each_evaluation_is_made_once_more_in_the_backward_pass_and_serves_for_undoing_and_for_the_gradient() -> None:
    spy = Spy(Logistic(1.0))
    block = ODEBlock(Constant(spy), FixedSteps(Coupled(RK4()), 10), Reversible())
    y = block(states())
    assert len(spy.times) == block.evaluations == 80
    y.sum().backward()
    assert len(spy.times) == 160


def test_batch_norm_of_a_residual_stage_trains_as_through_the_same_steps() -> None:
    torch.manual_seed(0)
    block = ODEBlock(PiecewiseConstant([BasicBranch(3) for _ in range(6)]), FixedSteps(Coupled(Euler())))
    again, x = copy.deepcopy(block), torch.randn(4, 3, 5, 5)
    found, exact = gradients(block, x, Reversible()), gradients(again, x, Backprop())
    assert float((found - exact).norm() / exact.norm()) < 1e-6
    assert all(map(torch.equal, block.buffers(), again.buffers()))


@pytest.mark.parametrize(
    ("branch", "solver"),
    [(SymmetricBranch(4), Leapfrog()), (HamiltonianBranch(4), SymplecticEuler())],
    ids=["leapfrog", "Hamiltonian"],
)
def test_the_blocks_of_chang_et_al_are_undone_exactly(branch: nn.Module, solver: ReversibleSolver) -> None:
    theta = PiecewiseConstant([copy.deepcopy(branch) for _ in range(20)], horizon=2.0)
    assert error(ODEBlock(theta.double(), FixedSteps(solver)), torch.randn(2, 4, 5, 5, dtype=torch.float64)) < 1e-12


def kept(steps: int, gradient: Any) -> int:
    x = torch.ones(100, 10, requires_grad=True)
    with Meter() as meter:
        ODEBlock(Constant(MLPBranch(10)), FixedSteps(Coupled(Euler()), steps), gradient)(x).sum().backward()
    return meter.most


def test_what_is_kept_does_not_depend_on_the_number_of_steps() -> None:
    assert kept(8, Reversible()) == kept(256, Reversible()) < kept(8, Backprop())


def test_the_last_state_is_let_go_of_while_it_is_undone_unless_the_graph_is_retained() -> None:
    block = ODEBlock(Constant(MLPBranch(10, 10)), FixedSteps(Coupled(Euler()), 8), Reversible())
    x = torch.ones(100, 10, requires_grad=True)

    def peak(*, retained: bool) -> int:
        return peak_bytes(lambda: block(x).sum().backward(retain_graph=retained))

    pair = 2 * x.numel() * torch.float64.itemsize
    assert peak(retained=False) == peak(retained=True) - pair


def test_memory_is_counted_on_the_meta_device() -> None:
    def peak(device: str) -> int:
        block = ODEBlock(Constant(MLPBranch(10)), FixedSteps(Euler(), 8), Reversible()).to(device)
        x = torch.ones(100, 10, requires_grad=True, device=device)
        return peak_bytes(lambda: block(x).sum().backward())

    assert peak("meta") == peak("cpu")


@pytest.mark.parametrize(
    ("stepping", "projection", "said"),
    [
        (FixedSteps(Euler()), torch.relu, r"asked for with projection = .* use Checkpointed\(\), or pre-activation"),
        (
            Adaptive("dopri5"),
            None,
            r"asked for with Adaptive\('dopri5'.* use FixedSteps, .*per_sample=True.*, or Checkpointed\(\)",
        ),
        (FixedSteps(TwoStep()), None, r"asked for with Leapfrog\(\), whose steps cannot be undone: use a Runge-Kutta"),
    ],
    ids=["projection", "error control", "solver"],
)
def test_what_cannot_be_undone_is_refused_at_construction_and_assignment(
    stepping: Any, projection: Any, said: str
) -> None:
    theta = PiecewiseConstant(logistic_nodes(2))
    with pytest.raises(ValueError, match=said):
        ODEBlock(theta, stepping, Reversible(), projection=projection)
    block = ODEBlock(theta, stepping, projection=projection)
    with pytest.raises(ValueError, match=said):
        block.gradient = Reversible()
    assert isinstance(block.gradient, Backprop)


def test_a_coupling_for_a_solver_that_has_its_own_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"is reversible by itself: name the coupling there, as in Coupled\(RK4\(\), c"
    ):
        ODEBlock(Constant(Logistic(1.0)), FixedSteps(Coupled(RK4())), Reversible(0.9))


@pytest.mark.parametrize("coupling", [0.0, 1.5], ids=repr)
def test_a_coupling_outside_its_interval_is_refused(coupling: float) -> None:
    with pytest.raises(ValueError, match=r"pass a number in \(0, 1\]"):
        Reversible(coupling)


def test_a_coupling_too_small_for_the_number_of_steps_is_refused_before_the_first() -> None:
    spy = Spy(Logistic(1.0))
    block = ODEBlock(Constant(spy), FixedSteps(Euler(), 1024), Reversible(0.9))
    with pytest.raises(
        ValueError, match=r"with 1024 steps in ODEBlock; undoing them multiplies .* by 1e47.* leave the co"
    ):
        block(states())
    assert spy.times == []
    with torch.no_grad():
        block(states())


def test_a_drift_is_reported_with_its_size() -> None:
    block = ODEBlock(Constant(Logistic(40.0)), FixedSteps(RK4(), 64), Reversible())
    with pytest.warns(
        DriftWarning, match=r"64 steps of Coupled\(.* came back with a relative error of .*e-.*, or Check"
    ):
        block(0.9 + states(4, 1) / 20).sum().backward()


def test_no_drift_is_reported_where_there_is_none() -> None:
    block = ODEBlock(PiecewiseConstant(logistic_nodes(3)), FixedSteps(RK4(), 9), Reversible())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        block(states()).sum().backward()
        block(torch.zeros_like(states())).sum().backward()
