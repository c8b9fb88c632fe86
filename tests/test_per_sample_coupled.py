"""Coupled steps per sample have the gradient of the steps taken, in memory independent of their number."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from odenet import (
    Backprop,
    BudgetWarning,
    Checkpointed,
    Constant,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    Reversible,
)
from odenet.blocks.field import Field
from odenet.blocks.solvers.embedded import PAIRS
from tests.laws import logistic_nodes, states
from tests.problems import Logistic, jumping_logistic
from tests.test_gradients_checkpointed import THETAS, Meter
from tests.test_per_sample_grid import Root, per_sample


def through_the_steps(block: ODEBlock, x: Tensor) -> Tensor:
    """Compute x(T) by the coupled method on the accepted grids, with the steps recorded by autograd."""
    field = Field(block.label)
    with torch.no_grad():
        plan = block.stepping.reversible_plan(list(block.theta.pieces()), field, x, None)
    assert plan is not None
    assert plan.active_samples is None
    return plan.integrate(field, x)


def gradients(block: ODEBlock, x: Tensor, solve: Any = None) -> Tensor:
    """Return the gradients with respect to x and θ as one vector."""
    x = x.clone().requires_grad_()
    y = block(x) if solve is None else solve(block, x)
    return torch.cat([g.ravel().double() for g in torch.autograd.grad(y.square().sum(), [x, *block.parameters()])])


@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("method", PAIRS)
def test_the_gradient_is_that_of_the_same_steps(method: str, theta: str) -> None:
    torch.manual_seed(0)
    block, x = ODEBlock(THETAS[theta](), per_sample(1e-4, method), Reversible()), torch.randn(7, 2)
    for dtype, bound in ((torch.float32, 5e-7), (torch.float64, 1e-12)):
        block, x = block.to(dtype), x.to(dtype)
        exact = gradients(block, x, through_the_steps)
        assert float((gradients(block, x) - exact).norm() / exact.norm()) < bound


@pytest.mark.parametrize("method", PAIRS)
def test_the_error_of_the_coupled_method_is_a_multiple_of_the_tolerance(method: str) -> None:
    problem = jumping_logistic()
    block = ODEBlock(problem.theta, per_sample(1e-6, method), Reversible())
    with torch.no_grad():
        torch.testing.assert_close(block(problem.x), problem.exact, rtol=0, atol=1e-4)
    assert block.last_solve is not None
    assert (block.last_solve.rejected + block.last_solve.accepted > 2).all()


def test_the_output_is_the_same_with_and_without_a_gradient() -> None:
    block, x = ODEBlock(PiecewiseConstant(logistic_nodes(3)), per_sample(1e-4), Reversible()), states()
    with torch.no_grad():
        expected = block(x)
    assert torch.equal(block(x), expected)


def test_a_sample_has_the_same_output_and_gradient_alone_and_in_any_batch() -> None:
    torch.manual_seed(0)
    block = ODEBlock(PiecewiseConstant([MLPBranch(2).double() for _ in range(2)]), per_sample(1e-5), Reversible())
    x = (torch.randn(5, 2, dtype=torch.float64) * torch.tensor([[0.1], [1.0], [9.0], [0.5], [3.0]])).requires_grad_()
    y = block(x)
    (together,) = torch.autograd.grad(y.square().sum(), x)
    for k in range(len(x)):
        alone = block(x[k : k + 1])
        torch.testing.assert_close(alone, y[k : k + 1], rtol=1e-13, atol=1e-13)
        (for_one,) = torch.autograd.grad(alone.square().sum(), x)
        torch.testing.assert_close(for_one[k], together[k], rtol=1e-11, atol=1e-13)


def test_many_steps_are_undone_without_drift() -> None:
    block = ODEBlock(Constant(Logistic(1.0, -0.5), 3.0), per_sample(1e-11, "bosh3"), Reversible())
    x = states().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        block(x).sum().backward()
    assert block.last_solve is not None
    assert block.last_solve.accepted.max() > 250


def memory(tolerance: float, gradient: Any) -> int:
    """Return the largest number of bytes that autograd keeps in a training step."""
    torch.manual_seed(0)
    block = ODEBlock(Constant(MLPBranch(10)), per_sample(tolerance, "bosh3"), gradient)
    with Meter() as meter:
        block(torch.ones(100, 10, requires_grad=True)).sum().backward()
    return meter.most


def test_memory_does_not_depend_on_the_number_of_steps() -> None:
    assert memory(1e-2, Reversible()) == memory(1e-5, Reversible())
    assert memory(1e-2, Backprop()) < memory(1e-5, Backprop())


def test_the_second_derivative_is_right() -> None:
    block = ODEBlock(PiecewiseConstant(logistic_nodes(2)), per_sample(1e-8), Reversible())
    inputs = states().requires_grad_(), *block.parameters()
    assert torch.autograd.gradgradcheck(lambda x, *_: block(x), inputs, fast_mode=True)


def test_a_sample_without_steps_does_not_change_the_gradient_of_the_others() -> None:
    block = ODEBlock(PiecewiseConstant([Root(), Root()], 0.4), per_sample(1e-6), Reversible())
    x = torch.tensor([[1.0], [-1.0], [4.0]], dtype=torch.float64, requires_grad=True)
    with pytest.warns(BudgetWarning, match="non-finite"):
        y = block(x)
    assert y[1] == x[1]
    (for_x, *for_theta) = torch.autograd.grad(y.square().sum(), [x, *block.parameters()])
    assert for_x[1] == 2 * x[1]
    others = x.detach()[[0, 2]].requires_grad_()
    (expected, *for_theta_alone) = torch.autograd.grad(block(others).square().sum(), [others, *block.parameters()])
    torch.testing.assert_close((for_x[[0, 2]], *for_theta), (expected, *for_theta_alone), rtol=1e-12, atol=1e-14)


def test_a_solve_without_steps_is_the_identity() -> None:
    block = ODEBlock(PiecewiseConstant(logistic_nodes(2)), per_sample(1e-6, max_evaluations=1), Reversible())
    x = states().requires_grad_()
    with pytest.warns(BudgetWarning):
        y = block(x)
    (for_x,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(y, x)
    assert torch.equal(for_x, torch.ones_like(x))


def test_a_coupling_too_small_for_the_number_of_steps_is_refused() -> None:
    block = ODEBlock(Constant(Logistic(1.0), 3.0), per_sample(1e-9), Reversible(coupling=0.1))
    with pytest.raises(ValueError, match=r"multiplies rounding errors by .* leave the coupling out"):
        block(states().requires_grad_())


def test_checkpointed_and_reversible_agree_as_the_tolerance_tightens() -> None:
    block, x = ODEBlock(PiecewiseConstant(logistic_nodes(2)), per_sample(1e-10)), states()
    block.gradient = Checkpointed()
    expected = gradients(block, x)
    block.gradient = Reversible()
    torch.testing.assert_close(gradients(block, x), expected, rtol=1e-6, atol=1e-7)
