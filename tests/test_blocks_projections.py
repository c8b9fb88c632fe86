"""Projected Euler steps and error control converge to the same projected dynamical system."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from odenet import (
    Adaptive,
    Backprop,
    BasicBranch,
    Checkpointed,
    Constant,
    ContinuousAdjoint,
    ConvexProjection,
    Euler,
    FixedSteps,
    Midpoint,
    Nonnegative,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    Reversible,
    StochasticDepth,
    group_norm,
    trajectory,
)
from tests.laws import slope

ERROR_CONTROL = [
    Adaptive("dopri5", 1e-7, 1e-7),
    Adaptive("bosh3", 1e-6, 1e-6),
    Adaptive("dopri5", 1e-7, 1e-7, per_sample=True),
    Adaptive("tsit5", 1e-7, 1e-7, per_sample=True),
]


class Returning(nn.Module):
    """F(t, x) = rate·(t - 1): the state falls to 0, stays there until t = 1, and rises again."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, t: Any, x: Tensor) -> Tensor:
        return self.rate * (t - 1) * torch.ones_like(x)


def returning(stepping: Any, **settings: Any) -> ODEBlock:
    """Return the flow on two pieces, [0, 1] and [1, 2], so that no step can miss the time at which the state is 0."""
    branch = Returning()
    return ODEBlock(PiecewiseConstant([branch, branch]), stepping, projection=Nonnegative(), **settings)


def exact(x: Tensor, rate: Tensor) -> Tensor:
    """Return x(2): rate/2 where x(0) ≤ rate/2, because x(1) = 0 there; else x(0)."""
    return torch.where(x <= rate / 2, rate / 2, x)


def starts() -> Tensor:
    return torch.tensor([[0.0, 0.25], [0.3, 0.8], [-0.3, 2.0]], dtype=torch.float64)


@pytest.mark.parametrize("stepping", ERROR_CONTROL, ids=repr)
def test_error_control_solves_the_projected_dynamical_system(stepping: Adaptive) -> None:
    x = starts()
    torch.testing.assert_close(returning(stepping)(x), exact(x, torch.tensor(1.0)), rtol=0, atol=1e-4)


def test_projected_euler_steps_converge_to_it_with_order_one() -> None:
    x, counts, errors = starts(), (64, 96, 128, 192, 256), []
    for count in counts:
        y = returning(FixedSteps(Euler(), count))(x)
        errors.append(float((y - exact(x, torch.tensor(1.0))).norm()))
    assert slope(counts, errors) == pytest.approx(1, abs=0.05)


def post_activation_stage() -> tuple[ODEBlock, Tensor]:
    torch.manual_seed(0)
    theta = PiecewiseConstant([BasicBranch(4, activation="post", norm=group_norm) for _ in range(2)]).double()
    return ODEBlock(theta, projection=Nonnegative()), torch.randn(3, 4, 4, 4, dtype=torch.float64).relu()


@pytest.mark.parametrize("per_sample", [False, True])
def test_a_post_activation_stage_has_the_limit_that_error_control_finds(per_sample: bool) -> None:
    block, x = post_activation_stage()
    with torch.no_grad():
        block.stepping = FixedSteps(Euler(), per_piece=1024)
        fine = block(x)
        block.stepping = Adaptive("dopri5", 1e-4, 1e-4, per_sample=per_sample)
        assert float((block(x) - fine).norm() / fine.norm()) < 1e-2
        assert block(x).min() >= 0


def test_the_relu_of_fixed_steps_is_nonnegative_bit_for_bit() -> None:
    block, x = post_activation_stage()
    expected = block(x)
    block.projection = torch.relu
    assert torch.equal(block(x), expected)


@pytest.mark.parametrize(
    "stepping",
    [Adaptive(first_step=0.1), Adaptive("bosh3", first_step=0.1), Adaptive(per_sample=True)],
    ids=repr,
)
@pytest.mark.parametrize("theta", [PiecewiseConstant, PiecewiseLinear])
def test_the_gradient_of_checkpointed_is_that_of_backprop(theta: Any, stepping: Adaptive) -> None:
    torch.manual_seed(0)
    nodes = [BasicBranch(4, activation="post", norm=group_norm).double() for _ in range(3)]
    block, x = ODEBlock(theta(nodes), stepping, projection=Nonnegative()), torch.randn(2, 4, 3, 3).double()
    found = []
    for gradient in (Backprop(), Checkpointed()):
        block.gradient = gradient
        y = block(x.requires_grad_())
        found.append([y, *torch.autograd.grad(y.square().sum(), [x, *block.parameters()])])
    for ours, theirs in zip(*found, strict=True):
        # A stage within rounding of the boundary may lie on either side of it.
        assert float((ours - theirs).norm()) <= 1e-4 * float(theirs.norm())


@pytest.mark.parametrize("per_sample", [False, True])
def test_gradients_are_those_of_the_limit(per_sample: bool) -> None:
    block, x = returning(Adaptive("dopri5", 1e-8, 1e-8, per_sample=per_sample)), starts().requires_grad_()
    of_x, of_rate = torch.autograd.grad(block(x).sum(), [x, *block.parameters()])
    at_zero = starts() <= 0.5
    torch.testing.assert_close(of_x, (~at_zero).double())
    torch.testing.assert_close(of_rate, at_zero.sum() / 2, check_dtype=False, rtol=1e-3, atol=0)


def test_stochastic_depth_scales_the_projected_slope() -> None:
    block, x = post_activation_stage()
    block.noise, block.stepping = StochasticDepth(0.5, per="sample"), Adaptive("dopri5", 1e-6, 1e-6, per_sample=True)
    torch.manual_seed(1)
    assert block.train()(x).min() >= 0


def test_a_trajectory_stays_in_the_set() -> None:
    block, x = returning(Adaptive("dopri5", 1e-7, 1e-7, per_sample=True)), starts()
    states = trajectory(block, x, [0.0, 0.5, 1.0, 2.0])
    assert torch.equal(states[0], x.relu())
    assert states.min() >= 0
    torch.testing.assert_close(states[2], (x.relu() - 0.5).relu(), rtol=0, atol=1e-4)
    assert torch.equal(states[3], block(x))


@pytest.mark.parametrize("stepping", [Adaptive(), Adaptive(per_sample=True)], ids=repr)
def test_error_control_refuses_a_function_because_its_set_is_unknown(stepping: Adaptive) -> None:
    with pytest.raises(ValueError, match=r"a function does not define them: use Nonnegative\(\) for the ReLU"):
        ODEBlock(Constant(Returning()), stepping, projection=torch.relu)


@pytest.mark.parametrize("stepping", [Adaptive(), Adaptive(per_sample=True)], ids=repr)
def test_error_control_refuses_a_map_that_is_not_idempotent(stepping: Adaptive) -> None:
    class Halving(ConvexProjection):
        def __call__(self, x: Tensor) -> Tensor:
            return x / 2

        def tangent(self, x: Tensor, slope: Tensor) -> Tensor:
            return slope

    block = ODEBlock(Constant(Returning()), stepping, projection=Halving())
    with pytest.raises(ValueError, match=r"Halving\(\) was asked for .* P\(P\(x\)\) differs from P\(x\)"):
        block(starts())


@pytest.mark.parametrize("gradient", [Reversible(), ContinuousAdjoint()], ids=repr)
def test_gradient_methods_that_do_not_support_projections_refuse_one(gradient: Any) -> None:
    with pytest.raises(ValueError, match=r"projection = Nonnegative\(\)"):
        returning(FixedSteps(Midpoint()), gradient=gradient)


def test_projections_are_compared_by_value() -> None:
    assert Nonnegative() == copy.deepcopy(Nonnegative())
    assert hash(Nonnegative()) == hash(Nonnegative())
    assert repr(Nonnegative()) == "Nonnegative()"
