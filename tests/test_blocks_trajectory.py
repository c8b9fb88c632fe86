"""States between the steps are as accurate as the steps, and differentiable with respect to x, θ and t."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from odenet import (
    Adaptive,
    BudgetWarning,
    Constant,
    FixedSteps,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    StochasticDepth,
    trajectory,
)
from odenet.blocks.per_sample.steps import EmbeddedSteps
from odenet.blocks.solvers.embedded import PAIRS
from odenet.blocks.trajectory import interpolate
from tests.laws import logistic_nodes, slope, states
from tests.problems import Logistic, jumping_logistic


def per_sample(method: str = "dopri5", tolerance: float = 1e-6, **options: Any) -> Adaptive:
    return Adaptive(method, tolerance, tolerance, per_sample=True, **options)


def logistic(horizon: float = 2.0, **options: Any) -> ODEBlock:
    return ODEBlock(Constant(Logistic(2.5, -0.4), horizon), per_sample(**options))


def exact(x: Tensor, t: float) -> Tensor:
    return torch.sigmoid(torch.logit(x) + t * torch.tensor([2.5, -0.4], dtype=torch.float64))


@pytest.mark.parametrize("method", PAIRS)
def test_a_trajectory_is_as_accurate_between_the_steps_as_at_their_ends(method: str) -> None:
    x, times = states(), [0.0, 0.123, 0.5, 1.0, 1.77, 2.0]
    with torch.no_grad():
        found = trajectory(logistic(method=method, tolerance=1e-7), x, times)
    for t, state in zip(times, found, strict=True):
        torch.testing.assert_close(state, exact(x, t), rtol=0, atol=5e-6)


@pytest.mark.parametrize("method", ["dopri5", "tsit5"])
@pytest.mark.parametrize("quartic", [True, False], ids=["quartic", "cubic"])
def test_an_interpolant_has_its_order(method: str, quartic: bool) -> None:
    x, f = states(), Logistic(2.5, -0.4)
    numbers, errors = (16, 24, 32, 48), []
    for number in numbers:
        h = torch.full((3, 1), 1 / number, dtype=torch.float64)
        steps = EmbeddedSteps(PAIRS[method])
        with torch.no_grad():
            (x1,), k = steps.slopes(f, 0 * h, h, h, (x,), (f(0.0, x),))
            (k0,), (k1,) = k[0], k[-1]
            middle = steps.middle(h, x, k) if quartic else None
            found = interpolate(0 * h + 0.3, h, x, x1, k0, k1, middle)
        errors.append(float((found - exact(x, 0.3 / number)).norm()))
    assert slope(numbers, errors) == pytest.approx(5 if quartic else 4, abs=0.15)


def test_an_interpolant_equals_the_state_at_both_ends_bit_for_bit() -> None:
    x0, x1, slope0, slope1, middle = (torch.randn(4, 3) for _ in range(5))
    for s, expected in ((0.0, x0), (1.0, x1)):
        assert torch.equal(
            interpolate(torch.full((4, 1), s), torch.ones(4, 1), x0, x1, slope0, slope1, middle), expected
        )


@pytest.mark.parametrize("theta", [PiecewiseConstant, PiecewiseLinear])
@pytest.mark.parametrize("method", PAIRS)
def test_the_last_state_is_the_output_of_the_block(method: str, theta: Any) -> None:
    block, x = ODEBlock(theta(logistic_nodes(3), 1.7), per_sample(method, 1e-3)), states()
    assert torch.equal(trajectory(block, x, [1.7])[0], block(x))
    assert torch.equal(trajectory(block, x, [0.0])[0], x)


def test_times_come_in_any_order_and_on_any_piece() -> None:
    problem = jumping_logistic()
    block = ODEBlock(problem.theta, per_sample(tolerance=1e-9))
    times = [2.0, 2 / 3, 0.1, 4 / 3, 1.9, 0.0, 0.1]
    with torch.no_grad():
        found = trajectory(block, problem.x, times)
        one_by_one = torch.cat([trajectory(block, problem.x, [t]) for t in times])
    assert torch.equal(found, one_by_one)
    torch.testing.assert_close(found[0], problem.exact, rtol=0, atol=1e-7)


def test_no_times_give_no_states() -> None:
    assert trajectory(logistic(), states(), []).shape == (0, 3, 2)


def test_a_sample_has_the_same_trajectory_alone_and_in_any_batch() -> None:
    torch.manual_seed(0)
    block = ODEBlock(Constant(MLPBranch(2).double(), 3.0), per_sample())
    x = torch.randn(5, 2, dtype=torch.float64) * torch.tensor([[0.1], [1.0], [9.0], [0.5], [3.0]])
    times = torch.linspace(0, 3, 7)
    with torch.no_grad():
        together = trajectory(block, x, times)
        for index in range(5):
            alone = trajectory(block, x[index : index + 1], times)
            torch.testing.assert_close(alone[:, 0], together[:, index], rtol=1e-12, atol=1e-13)


def test_a_state_may_be_a_feature_map() -> None:
    theta = Constant(Logistic(1.5), 1.0)
    x = 0.5 + 0.1 * torch.randn(2, 3, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        (found,) = trajectory(ODEBlock(theta, per_sample(tolerance=1e-9)), x, [0.6])
    torch.testing.assert_close(found, torch.sigmoid(torch.logit(x) + 0.9), rtol=0, atol=1e-7)


def test_the_gradient_of_a_trajectory_is_that_of_the_flow() -> None:
    block = logistic(tolerance=1e-10)
    x = states().requires_grad_()
    (found,) = torch.autograd.grad(trajectory(block, x, [0.4, 1.3]).sum(), x)
    t = torch.tensor([0.4, 1.3]).view(2, 1, 1)
    other = x.detach().requires_grad_()
    shift = t * torch.tensor([2.5, -0.4], dtype=torch.float64)
    (expected,) = torch.autograd.grad(torch.sigmoid(torch.logit(other) + shift).sum(), other)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-8)


def test_states_beyond_the_end_of_a_stopped_sample_are_nan() -> None:
    block = ODEBlock(Constant(Logistic(1.0), 4.0), per_sample(max_evaluations=30))
    with torch.no_grad(), pytest.warns(BudgetWarning):
        found = trajectory(block, states(), [0.0, 1e-3, 4.0])
    assert torch.isfinite(found[:2]).all()
    assert torch.isnan(found[2]).all()
    assert block.last_solve is not None
    assert (block.last_solve.t < 4).all()
    assert block.evaluations > 0


def test_a_block_without_steps_per_sample_is_refused() -> None:
    block = logistic()
    for stepping in (FixedSteps(), Adaptive("dopri5")):
        block.stepping = stepping
        with pytest.raises(ValueError, match=r"only steps per sample can be interpolated: set stepping = Adaptive\("):
            trajectory(block, states(), [1.0])


@pytest.mark.parametrize("t", [-0.1, 2.1, math.nan])
def test_a_time_outside_the_horizon_is_refused(t: float) -> None:
    with pytest.raises(ValueError, match=r"ODEBlock is solved on \[0, 2.0\]: pass times in this interval"):
        trajectory(logistic(), states(), [1.0, t])


def test_stochastic_depth_is_refused_in_training_mode_and_accepted_in_evaluation_mode() -> None:
    block = ODEBlock(PiecewiseConstant(logistic_nodes(3)), per_sample(), noise=StochasticDepth(0.5))
    with pytest.raises(ValueError, match="another random model: use evaluation mode"):
        trajectory(block, states(), [1.0])
    block.eval()
    assert torch.equal(trajectory(block, states(), [3.0])[0], block(states()))


def test_the_derivative_with_respect_to_time_is_the_field_up_to_second_derivatives() -> None:
    block = ODEBlock(PiecewiseConstant(logistic_nodes(2)), Adaptive("dopri5", 1e-10, 1e-10, per_sample=True))
    t = torch.tensor([0.0, 0.3, 1.4, 2.0], dtype=torch.float64, requires_grad=True)
    found = trajectory(block, states(), t)
    (slope,) = torch.autograd.grad(found.sum(), t, create_graph=True)
    pieces = list(block.theta.pieces())
    for k, piece in enumerate((pieces[0], pieces[0], pieces[1], pieces[1])):
        time, x = t[k].detach().clone().requires_grad_(), found[k].detach()
        expected = piece.field(time, x).sum()
        torch.testing.assert_close(slope[k], expected)
        jacobian: Any = torch.autograd.functional.jvp(lambda x, p=piece: p.field(0.0, x), x, piece.field(0.0, x))[1]
        torch.testing.assert_close(torch.autograd.grad(slope[k], t, retain_graph=True)[0][k], jacobian.sum())


def test_only_some_times_may_require_a_gradient() -> None:
    block = ODEBlock(PiecewiseConstant(logistic_nodes(2)), Adaptive("dopri5", 1e-8, 1e-8, per_sample=True))
    t = torch.tensor(0.5, requires_grad=True)
    found = trajectory(block, states(), [0.25, t])
    assert torch.autograd.grad(found[1].sum(), t, retain_graph=True)[0].dtype == torch.float32
    assert torch.equal(found.detach(), trajectory(block, states(), [0.25, 0.5]))
    with torch.no_grad():
        assert not trajectory(block, states(), [t]).requires_grad


def test_state_and_parameters_have_gradients_along_with_times() -> None:
    block = ODEBlock(PiecewiseConstant(logistic_nodes(2)), Adaptive("dopri5", 1e-8, 1e-8, per_sample=True))
    leaves = [x := states().requires_grad_(), *block.parameters()]
    times = torch.tensor([0.7, 1.5], dtype=torch.float64, requires_grad=True)
    found = [torch.autograd.grad(trajectory(block, x, t).sum(), leaves) for t in (times, times.detach())]
    torch.testing.assert_close(*found)
