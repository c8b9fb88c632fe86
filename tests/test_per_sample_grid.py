"""Steps per sample are differentiated exactly on the grid that was accepted, whatever was rejected on the way."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from odenet import (
    Adaptive,
    Backprop,
    BudgetWarning,
    Checkpointed,
    Constant,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
)
from odenet.blocks.per_sample.grid import accepted_grid
from odenet.blocks.per_sample.steps import Attempt
from odenet.blocks.solvers.embedded import PAIRS
from tests.laws import ExactGradientLaws, RecomputationLaws, logistic_nodes, states
from tests.problems import Logistic


def per_sample(tolerance: float, method: str = "dopri5", **options: Any) -> Adaptive:
    return Adaptive(method, tolerance, tolerance, per_sample=True, **options)


class PerSampleGradientLaws(ExactGradientLaws):
    """Laws without batch statistics and dropout, which tests/test_per_sample_separable.py shows to be refused."""

    def test_the_derivative_of_its_gradient_is_right(self) -> None:
        # The tolerance is tight because the grid depends on x, and the gradient does not include that.
        block = ODEBlock(PiecewiseConstant(logistic_nodes(2)), per_sample(1e-7), self.gradient)
        inputs = states().requires_grad_(), *block.parameters()
        assert torch.autograd.gradgradcheck(lambda x, *_: block(x), inputs, fast_mode=True)


class TestBackprop(PerSampleGradientLaws):
    gradient = Backprop()
    stepping = per_sample(1e-3)
    fine = per_sample(1e-5)
    closeness = 0.0


class AcceptedStepsTakenAgain(PerSampleGradientLaws, RecomputationLaws):
    """Laws of `Checkpointed`, which finds the grid and takes its steps again, without the rejected attempts."""

    def test_its_forward_pass_is_that_of_backpropagation(self) -> None:
        block = ODEBlock(PiecewiseConstant(logistic_nodes(3)), self.stepping)
        expected, evaluations = block(states()), block.evaluations
        block.gradient = self.gradient
        torch.testing.assert_close(block(states()), expected, rtol=1e-14, atol=1e-14)
        assert evaluations < block.evaluations <= 2 * evaluations


class TestCheckpointed(AcceptedStepsTakenAgain):
    gradient = Checkpointed()
    stepping = per_sample(1e-3, "tsit5")
    fine = per_sample(1e-5, "tsit5")


class TestCheckpointedInTwoSegments(AcceptedStepsTakenAgain):
    gradient = Checkpointed(2)
    stepping = per_sample(1e-2, "bosh3")
    fine = per_sample(1e-3, "bosh3")


def gradients(block: ODEBlock, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    return list(torch.autograd.grad(block(x).square().sum(), [x, *block.parameters()]))


@pytest.mark.parametrize("theta", [PiecewiseConstant, PiecewiseLinear])
@pytest.mark.parametrize("method", PAIRS)
def test_attempts_with_a_gradient_and_steps_taken_again_give_the_same_state_bit_for_bit(
    method: str, theta: Any
) -> None:
    torch.manual_seed(0)
    block = ODEBlock(theta([MLPBranch(2).double() for _ in range(3)], 3.0), per_sample(1e-4, method))
    x = 2 * torch.randn(5, 2, dtype=torch.float64)
    with torch.no_grad():
        solved, report, evaluations = block(x), block.last_solve, block.evaluations
    assert torch.equal(block(x), solved)
    assert block.evaluations == evaluations
    block.gradient = Checkpointed()
    assert torch.equal(block(x), solved)
    assert block.evaluations > evaluations
    assert report is not None
    assert report.accepted.unique().numel() > 1


def test_with_a_tight_tolerance_the_gradient_is_that_of_the_flow() -> None:
    torch.manual_seed(0)
    block = ODEBlock(Constant(MLPBranch(2).double(), 2.0), per_sample(1e-10))
    x = torch.randn(4, 2, dtype=torch.float64)
    ours = gradients(block, x)
    block.stepping = Adaptive("dopri5", 1e-10, 1e-10)
    for found, expected in zip(ours, gradients(block, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("gradient", [Backprop(), Checkpointed()], ids=repr)
def test_the_gradient_is_exact_at_any_tolerance_for_a_fixed_grid(gradient: Any) -> None:
    block = ODEBlock(Constant(Logistic(1.3, -0.4), 2.0), per_sample(1e-2), gradient)
    x = states()
    (step,) = {len(plan.steps) for plan in [block.stepping.plan(block.theta.pieces(), field_of(block), x, None)]}
    assert step > 1
    plan = block.stepping.plan(block.theta.pieces(), field_of(block), x, None)

    def on_the_grid(x: Tensor) -> Tensor:
        state: Any = x
        for step in plan.steps:
            state = step.advance(step.piece.field, state)
        return state

    assert torch.autograd.gradcheck(on_the_grid, x.clone().requires_grad_())
    x.requires_grad_()
    (ours,) = torch.autograd.grad(block(x).sum(), x)
    (expected,) = torch.autograd.grad(on_the_grid(x).sum(), x)
    torch.testing.assert_close(ours, expected, rtol=1e-13, atol=1e-13)


def field_of(block: ODEBlock) -> Any:
    from odenet.blocks.field import Field

    return Field(block.label)


def test_a_sample_has_the_same_gradient_alone_and_in_any_batch() -> None:
    torch.manual_seed(0)
    block = ODEBlock(PiecewiseConstant([MLPBranch(2).double() for _ in range(2)]), per_sample(1e-5))
    x = torch.randn(6, 2, dtype=torch.float64) * torch.tensor([[0.1], [1.0], [9.0], [0.5], [3.0], [2.0]])
    together, *for_theta = gradients(block, x)
    alone = [gradients(block, sample) for sample in x.split(1)]
    torch.testing.assert_close(torch.cat([each[0] for each in alone]), together, rtol=1e-12, atol=1e-14)
    for index, expected in enumerate(for_theta, 1):
        torch.testing.assert_close(sum(each[index] for each in alone), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("gradient", [Backprop(), Checkpointed()], ids=repr)
def test_a_sample_that_stopped_has_the_gradient_of_the_state_it_reached(gradient: Any) -> None:
    block = ODEBlock(Constant(Logistic(1.0, 1.0), 9.0), per_sample(1e-6, max_evaluations=40), gradient)
    with pytest.warns(BudgetWarning):
        y = block(states())
    y.sum().backward()
    assert all(p.grad is not None and p.grad.abs().min() > 0 for p in block.parameters())


@pytest.mark.parametrize("gradient", [Backprop(), Checkpointed()], ids=repr)
def test_a_solve_without_steps_has_the_gradient_of_the_identity(gradient: Any) -> None:
    block = ODEBlock(PiecewiseConstant(logistic_nodes(2)), per_sample(1e-6, max_evaluations=1), gradient)
    x = states().requires_grad_()
    with pytest.warns(BudgetWarning):
        y = block(x)
    (for_x,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(for_x, torch.ones_like(x))


def test_a_grid_has_the_accepted_steps_of_each_sample_in_order() -> None:
    def attempt(*of_samples: tuple[float, float]) -> Attempt:
        return Attempt(*(torch.tensor(each, dtype=torch.float64).view(2, 1) for each in zip(*of_samples, strict=True)))

    attempts = [attempt((1.5, 0.5), (2.0, 0.0)), attempt((1.9, 0.0), (1.25, 0.25)), attempt((2.0, 0.5), (9.0, 0.0))]
    grid = accepted_grid(1.0, attempts, (2, 1), rows=2)
    assert grid.h.squeeze(-1).tolist() == [[0.5, 0.25], [0.5, 0.0]]
    assert grid.t0.squeeze(-1).tolist() == [[1.0, 1.0], [1.5, 1.25]]
    assert grid.t1.squeeze(-1).tolist() == [[1.5, 1.25], [2.0, 1.25]]


class Bump(nn.Module):
    """F(t, x) = rate·x with a rate that rises for a moment, so that steps are rejected."""

    def __init__(self) -> None:
        super().__init__()
        self.rate, self.recorded = nn.Parameter(torch.tensor(-2.0, dtype=torch.float64)), 0

    def forward(self, t: Any, x: Tensor) -> Tensor:
        self.recorded += torch.is_grad_enabled()
        return self.rate * x * (1 + 30 * torch.exp(-((t - 1) ** 2) * 400))


class Root(Bump):
    """F(t, x) = rate·√x, NaN below 0, where too long steps end; the solution is x(t) = (√x(0) + rate·t/2)²."""

    def forward(self, t: Any, x: Tensor) -> Tensor:
        del t
        self.recorded += torch.is_grad_enabled()
        return self.rate * x.sqrt()


@pytest.mark.parametrize(("branch", "horizon"), [(Bump(), 2.0), (Root(), 0.95)], ids=["finite", "not finite"])
def test_rejected_attempts_do_not_contribute_to_the_gradient(branch: Bump, horizon: float) -> None:
    block, x = ODEBlock(Constant(branch, horizon), per_sample(1e-4)), torch.ones(3, 1, dtype=torch.float64)
    branch.recorded = 0
    ours = gradients(block, x)
    report = block.last_solve
    assert report is not None
    assert report.rejected.max() > 0
    attempted = 1 + 6 * int((report.accepted + report.rejected).max())
    assert branch.recorded == attempted + isinstance(branch, Root) * (1 + 6 * int(report.accepted.max()))
    block.gradient = Checkpointed()
    for found, expected in zip(ours, gradients(block, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("gradient", [Backprop(), Checkpointed()], ids=repr)
def test_a_sample_without_a_finite_slope_does_not_change_the_gradient_of_the_others(gradient: Any) -> None:
    block = ODEBlock(PiecewiseConstant([Root(), Root()], 0.4), per_sample(1e-6), gradient)
    x = torch.tensor([[1.0], [-1.0], [4.0]], dtype=torch.float64)
    with pytest.warns(BudgetWarning, match="non-finite"):
        for_x, *ours = gradients(block, x)
    assert for_x[1] == 2 * x[1]
    for found, expected in zip((for_x[[0, 2]], *ours), gradients(block, x[[0, 2]]), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-15)
