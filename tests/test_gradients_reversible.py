"""`Reversible` has the gradient of backpropagation through the same steps, in memory independent of their number."""

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
from tests.laws import (
    STEP_COUNTS,
    DropoutLaws,
    ExactBatchNormLaws,
    RecomputationLaws,
    Spy,
    logistic_nodes,
    slope,
    states,
)
from tests.problems import Logistic
from tests.test_gradients_checkpointed import THETAS, Meter
from tests.test_solvers_runge_kutta import Leapfrog as TwoStep

REVERSIBLE = [Coupled(Euler()), Coupled(RK4()), AsynchronousLeapfrog(), ReversibleHeun(), Leapfrog()]


class ReversibleLaws(RecomputationLaws, DropoutLaws, ExactBatchNormLaws):
    gradient = Reversible()
    closeness = 1e-12
    closeness_on_random_branches = 1e-9
    """Looser, because the steps are too large for the random rates, and rounding grows as they are undone."""


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
    """Return the gradients with respect to x and θ as one vector."""
    block.gradient = gradient
    x = x.clone().requires_grad_()
    found = torch.autograd.grad(block(x).square().sum(), [x, *block.parameters()])
    return torch.cat([g.double().ravel() for g in found])


def error(block: ODEBlock, x: Tensor) -> float:
    """Return the relative distance of the gradient to that of backpropagation through the same steps."""
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
def test_from_8_to_1024_steps_rounding_errors_of_the_gradient_stay_small(
    steps: int, dtype: torch.dtype, bound: float
) -> None:
    torch.manual_seed(0)
    theta = PiecewiseConstant([MLPBranch(4, 8) for _ in range(8)], 2.0).to(dtype)
    block = ODEBlock(theta, FixedSteps(Coupled(Euler()), steps // 8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert error(block, torch.randn(16, 4, dtype=dtype)) < bound


@pytest.mark.parametrize("solver", [Euler(), Heun(), RK4()], ids=repr)
def test_coupling_a_runge_kutta_method_changes_the_output_by_its_order_at_most(solver: Any) -> None:
    x, changes = states(), []
    block = ODEBlock(PiecewiseConstant(logistic_nodes(2), 1.0))
    for n in STEP_COUNTS:
        block.stepping, block.gradient = FixedSteps(solver, n), Backprop()
        with torch.no_grad():
            plain = block(x)
            block.gradient = Reversible()
            changes.append(float((block(x) - plain).norm()))
    assert slope(STEP_COUNTS, changes) > solver.order - 0.05


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


def test_f_is_evaluated_once_more_for_each_evaluation_of_the_forward_pass() -> None:
    spy = Spy(Logistic(1.0))
    block = ODEBlock(Constant(spy), FixedSteps(Coupled(RK4()), 10), Reversible())
    y = block(states())
    assert len(spy.times) == block.evaluations == 80
    y.sum().backward()
    assert len(spy.times) == 160


def test_a_stage_with_batch_norm_has_the_gradients_and_buffers_of_backprop_through_the_same_steps() -> None:
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


def memory(steps: int, gradient: Any) -> int:
    """Return the largest number of bytes that autograd keeps in a training step."""
    x = torch.ones(100, 10, requires_grad=True)
    with Meter() as meter:
        ODEBlock(Constant(MLPBranch(10)), FixedSteps(Coupled(Euler()), steps), gradient)(x).sum().backward()
    return meter.most


def test_memory_does_not_depend_on_the_number_of_steps() -> None:
    assert memory(8, Reversible()) == memory(256, Reversible()) < memory(8, Backprop())


def test_the_last_state_is_freed_in_the_backward_pass_unless_the_graph_is_retained() -> None:
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
    ("stepping", "projection", "message"),
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
def test_steps_that_cannot_be_undone_are_refused_at_construction_and_assignment(
    stepping: Any, projection: Any, message: str
) -> None:
    theta = PiecewiseConstant(logistic_nodes(2))
    with pytest.raises(ValueError, match=message):
        ODEBlock(theta, stepping, Reversible(), projection=projection)
    block = ODEBlock(theta, stepping, projection=projection)
    with pytest.raises(ValueError, match=message):
        block.gradient = Reversible()
    assert isinstance(block.gradient, Backprop)


def test_a_coupling_for_a_reversible_solver_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"is reversible by itself: pass the coupling to the solver, as in Coupled\(RK4\(\), c"
    ):
        ODEBlock(Constant(Logistic(1.0)), FixedSteps(Coupled(RK4())), Reversible(0.9))


@pytest.mark.parametrize("coupling", [0.0, 1.5], ids=repr)
def test_a_coupling_outside_its_interval_is_refused(coupling: float) -> None:
    with pytest.raises(ValueError, match=r"pass a number in \(0, 1\]"):
        Reversible(coupling)


def test_a_coupling_too_small_for_the_number_of_steps_is_refused_before_the_first_step() -> None:
    spy = Spy(Logistic(1.0))
    block = ODEBlock(Constant(spy), FixedSteps(Euler(), 1024), Reversible(0.9))
    with pytest.raises(
        ValueError, match=r"with 1024 steps in ODEBlock; undoing them multiplies .* by 1e47.* leave the coupling"
    ):
        block(states())
    assert spy.times == []
    with torch.no_grad():
        block(states())


def test_a_drift_warning_gives_the_relative_error() -> None:
    block = ODEBlock(Constant(Logistic(40.0)), FixedSteps(RK4(), 64), Reversible())
    with pytest.warns(
        DriftWarning, match=r"64 steps of Coupled\(.* came back with a relative error of .*e-.*, or Check"
    ):
        block(0.9 + states(4, 1) / 20).sum().backward()


def test_without_drift_there_is_no_warning() -> None:
    block = ODEBlock(PiecewiseConstant(logistic_nodes(3)), FixedSteps(RK4(), 9), Reversible())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        block(states()).sum().backward()
        block(torch.zeros_like(states())).sum().backward()
