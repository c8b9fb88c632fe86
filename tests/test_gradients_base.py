"""`Backprop` is the derivative of the discrete network; `ContinuousAdjoint` approaches it as the steps shrink."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from odenet import (
    RK4,
    Adaptive,
    Autonomous,
    Backprop,
    BasicBranch,
    Constant,
    ContinuousAdjoint,
    Euler,
    FixedSteps,
    Heun,
    Midpoint,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    RungeKutta,
)
from odenet.blocks.stepping.base import Stepping
from tests.laws import BatchNormLaws, DropoutLaws, ExactBatchNormLaws, logistic_nodes, slope, states
from tests.problems import bernoulli


class TestBackprop(DropoutLaws, ExactBatchNormLaws):
    gradient = Backprop()
    closeness = 0.0


class TestContinuousAdjoint(BatchNormLaws):
    gradient = ContinuousAdjoint()
    closeness = 1e-6


class TestContinuousAdjointOfAdaptiveSteps(BatchNormLaws):
    gradient = ContinuousAdjoint()
    stepping = Adaptive("dopri5", 1e-2, 1e-2)
    fine = Adaptive("dopri5", 1e-8, 1e-8)
    closeness = 1e-5


def distance_to_backprop(block: ODEBlock, x: torch.Tensor, gradient: ContinuousAdjoint) -> float:
    """Return the relative distance of the gradients with respect to x and θ to those of `Backprop`."""
    found = []
    for method in (gradient, Backprop()):
        block.gradient = method
        x = x.clone().requires_grad_()
        gradients = torch.autograd.grad(block(x).square().sum(), [x, *block.parameters()])
        found.append(torch.cat([g.ravel() for g in gradients]))
    return float((found[0] - found[1]).norm() / found[1].norm())


@pytest.mark.parametrize("make", [lambda: PiecewiseConstant(logistic_nodes(3)), lambda: bernoulli().theta])
@pytest.mark.parametrize("stepping", [FixedSteps(RK4()), FixedSteps(Heun(), 2), Adaptive("rk4")], ids=repr)
def test_backpropagation_is_the_derivative_of_the_discrete_network(make: Any, stepping: Stepping) -> None:
    block = ODEBlock(make(), stepping)
    assert torch.autograd.gradcheck(lambda x, *_: block(x), (states().requires_grad_(), *block.parameters()))


def test_the_adjoint_of_coarse_steps_is_not_the_gradient_of_the_discrete_network() -> None:
    block = ODEBlock(PiecewiseConstant([Autonomous(nn.Tanh()), *logistic_nodes(3)]), FixedSteps(Euler()))
    assert distance_to_backprop(block, states(), ContinuousAdjoint()) > 0.05


@pytest.mark.parametrize("solver", [Euler(), Midpoint(), RK4()], ids=repr)
def test_the_adjoint_approaches_backpropagation_with_the_order_of_the_solver(solver: RungeKutta) -> None:
    numbers = (16, 24, 32, 48)
    distances = [
        distance_to_backprop(
            ODEBlock(PiecewiseConstant(logistic_nodes(2), 1.0), FixedSteps(solver, n)), states(), ContinuousAdjoint()
        )
        for n in numbers
    ]
    assert slope(numbers, distances) == pytest.approx(solver.order, abs=0.1)


def test_the_adjoint_approaches_backpropagation_as_the_tolerance_shrinks() -> None:
    distances = []
    for tolerance in (1e-2, 1e-5, 1e-8):
        block = ODEBlock(PiecewiseLinear(logistic_nodes(3)), Adaptive("dopri5", tolerance, tolerance))
        distances.append(distance_to_backprop(block, states(), ContinuousAdjoint()))
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 1e-6


def test_the_backward_solve_has_its_own_tolerances_and_method() -> None:
    block = ODEBlock(Constant(logistic_nodes(1)[0], 3.0), Adaptive("dopri5", 1e-7, 1e-7))
    loose = distance_to_backprop(block, states(), ContinuousAdjoint(rtol=1e-2, atol=1e-2))
    tight = distance_to_backprop(block, states(), ContinuousAdjoint())
    other = distance_to_backprop(block, states(), ContinuousAdjoint(method="bosh3"))
    assert tight < other < loose


def test_under_the_adjoint_only_forward_evaluations_are_counted_as_batches() -> None:
    branch = BasicBranch(2)
    block = ODEBlock(PiecewiseConstant([branch, branch]), FixedSteps(Heun(), 3), ContinuousAdjoint())
    block(torch.randn(3, 2, 4, 4, requires_grad=True)).square().sum().backward()
    assert branch.norm1.num_batches_tracked == block.evaluations == 12


def test_second_derivatives_by_the_adjoint_are_refused() -> None:
    block = ODEBlock(Constant(logistic_nodes(1)[0]), FixedSteps(RK4()), ContinuousAdjoint())
    y = block(states().requires_grad_()).sum()
    with pytest.raises(
        RuntimeError, match=r"create_graph=True\) was asked for .* use Backprop\(\) or Checkpointed\(\)"
    ):
        torch.autograd.grad(y, list(block.parameters()), create_graph=True)


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_the_adjoint_under_autocast_has_the_same_gradient_inside_and_outside_the_context(where: str) -> None:
    found = []
    for gradient in (ContinuousAdjoint(), Backprop()):
        torch.manual_seed(0)
        block = ODEBlock(Constant(BasicBranch(2, activation="post")), FixedSteps(RK4(), 8), gradient)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = block(torch.randn(4, 2, 4, 4)).square().mean()
            if where == "inside":
                loss.backward()
        if where == "outside":
            loss.backward()
        found.append(torch.cat([p.grad.ravel() for p in block.parameters() if p.grad is not None]))
    torch.testing.assert_close(*found, rtol=0.1, atol=0.05 * float(found[1].abs().max()))


@pytest.mark.parametrize(
    "dropout", [nn.Dropout(0.5), nn.Dropout2d(0.1), nn.AlphaDropout(0.5), nn.FeatureAlphaDropout(0.3)], ids=repr
)
def test_active_dropout_under_the_adjoint_is_refused_with_its_name(dropout: nn.Module) -> None:
    branch = Autonomous(nn.Sequential(nn.Linear(2, 2), dropout))
    block = ODEBlock(Constant(branch), FixedSteps(RK4()), ContinuousAdjoint())
    with pytest.raises(ValueError, match=r"active dropout 'module\.1'; .* use Backprop\(\), or dropout outside"):
        block(torch.ones(2, 2, 3, 2))
    block.eval()(torch.ones(2, 2, 3, 2))


def test_dropout_of_probability_zero_is_accepted() -> None:
    block = ODEBlock(Constant(Autonomous(nn.Dropout(0.0))), FixedSteps(RK4()), ContinuousAdjoint())
    block(torch.ones(1, 2))


def test_backpropagation_trains_through_dropout() -> None:
    branch = Autonomous(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)))
    ODEBlock(Constant(branch), FixedSteps(RK4()))(torch.ones(4, 2)).sum().backward()
    assert all(parameter.grad is not None for parameter in branch.parameters())


def test_a_projection_under_the_adjoint_is_refused_at_construction_and_assignment() -> None:
    theta = PiecewiseConstant([BasicBranch(2, activation="post")])
    with pytest.raises(ValueError, match=r"ContinuousAdjoint\(\) was asked for with projection = .*: use Backprop\(\)"):
        ODEBlock(theta, gradient=ContinuousAdjoint(), projection=torch.relu)
    block = ODEBlock(theta, projection=torch.relu)
    with pytest.raises(ValueError, match="adjoint equation holds for smooth flows only"):
        block.gradient = ContinuousAdjoint()
    assert isinstance(block.gradient, Backprop)


def test_tolerances_for_fixed_steps_are_refused() -> None:
    for wrong in (ContinuousAdjoint(rtol=1e-3), ContinuousAdjoint(method="dopri5")):
        with pytest.raises(ValueError, match=r"the backward solve takes the same fixed steps, without tolerances: use"):
            ODEBlock(Constant(logistic_nodes(1)[0]), FixedSteps(), wrong)


@pytest.mark.parametrize("tolerance", [-1e-3, float("nan")])
def test_negative_tolerances_are_refused(tolerance: float) -> None:
    with pytest.raises(ValueError, match=rf"rtol = {tolerance}, atol = None; tolerances must be finite and ≥ 0: pass"):
        ContinuousAdjoint(rtol=tolerance)
    with pytest.raises(ValueError, match=rf"rtol = None, atol = {tolerance}; tolerances must be finite and ≥ 0: pass"):
        ContinuousAdjoint(atol=tolerance)


def test_the_adjoint_keeps_one_state_per_piece() -> None:
    kept: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    x, counts = states(50, 2), []
    for per_piece in (2, 20):
        block = ODEBlock(PiecewiseConstant(logistic_nodes(2)), FixedSteps(RK4(), per_piece), ContinuousAdjoint())
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            block(x)
        counts.append(sum(kept))
    assert counts[0] == counts[1]
