"""Options of torchdiffeq act as in torchdiffeq, also where steps are taken again, or are refused when given."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from odenet import (
    Adaptive,
    Backprop,
    Checkpointed,
    Constant,
    ContinuousAdjoint,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
)
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.theta.base import Time
from tests.laws import states

METHODS: tuple[GradientMethod, ...] = (Backprop(), Checkpointed(), ContinuousAdjoint())


class Switched(nn.Module):
    """x′ = a for t > 1/2, else 0, so that x(1) = x(0) + a/2."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(3.0, dtype=torch.float64))

    def forward(self, t: Time, x: Tensor) -> Tensor:
        return (t > 0.5) * self.a * torch.ones_like(x)


@pytest.mark.parametrize("gradient", METHODS, ids=repr)
@pytest.mark.parametrize(
    ("options", "within"),
    [
        ({"jump_t": torch.tensor([0.5])}, 1e-12),
        ({"jump_t": [0.5]}, 1e-12),
        ({"jump_t": torch.tensor([0.5]), "step_t": torch.tensor([0.25, 0.5, 0.9])}, 1e-12),
        ({"jump_t": torch.tensor([0.5, 0.5, 2.0, -1.0, 0.0, 1.0])}, 1e-12),
        ({"step_t": torch.tensor([0.5])}, 1e-3),
        ({"first_step": 0.3}, 1e-3),
        ({"max_step": 0.05}, 1e-3),
    ],
    ids=str,
)
def test_the_gradient_is_that_of_the_steps_taken_with_any_option(
    options: dict[str, Any], within: float, gradient: GradientMethod
) -> None:
    block = ODEBlock(Constant(Switched()), Adaptive("dopri5", 1e-6, 1e-6, **options), gradient)
    y = block(torch.zeros(1, 1, dtype=torch.float64))
    y.sum().backward()
    assert y.item() == pytest.approx(1.5, abs=within)
    assert block.theta.nodes[0].a.grad.item() == pytest.approx(0.5, abs=within)  # pyright: ignore


@pytest.mark.parametrize("method", ["euler", "midpoint", "rk4", "heun2", "heun3"])
@pytest.mark.parametrize(
    "options", [{"perturb": True}, {"step_size": 0.5, "perturb": True}, {"step_size": 0.3}], ids=str
)
def test_fixed_steps_of_torchdiffeq_are_taken_again_with_their_options(method: str, options: dict[str, Any]) -> None:
    found = []
    for gradient in (Backprop(), Checkpointed()):
        block = ODEBlock(Constant(Switched()), Adaptive(method, **options), gradient)
        y = block(torch.zeros(1, 1, dtype=torch.float64))
        found.append([y, *torch.autograd.grad(y.sum(), list(block.parameters()))])
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


def test_a_jump_at_the_end_of_a_piece_changes_nothing() -> None:
    theta = PiecewiseConstant([MLPBranch(2), MLPBranch(2)])
    x = torch.randn(3, 2)
    expected = ODEBlock(theta, Adaptive())(x)
    assert torch.equal(ODEBlock(theta, Adaptive(jump_t=torch.tensor([1.0])))(x), expected)


@pytest.mark.parametrize("gradient", METHODS, ids=repr)
def test_a_users_grid_serves_both_directions(gradient: GradientMethod) -> None:
    def grid(f: Any, x: Tensor, t: Tensor) -> Tensor:
        return torch.linspace(0, 1, 11, dtype=t.dtype) ** 2

    block = ODEBlock(Constant(MLPBranch(2).double()), Adaptive("rk4", grid_constructor=grid), gradient)
    exact = ODEBlock(block.theta, Adaptive("dopri5", 1e-10, 1e-10))
    x = states()
    ours, best = (torch.autograd.grad(b(x).sum(), list(b.parameters())) for b in (block, exact))
    torch.testing.assert_close(ours, best, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "grid",
    [
        lambda *_: torch.linspace(0, 1, 11, dtype=torch.float64),
        lambda *given: given[2][:1],
        lambda *_: torch.ones(2, 2),
    ],
)
def test_a_grid_that_does_not_fit_its_piece_is_refused(grid: Any) -> None:
    block = ODEBlock(PiecewiseConstant([MLPBranch(2)] * 2), Adaptive("rk4", grid_constructor=grid))
    with pytest.raises(ValueError, match=r"grid_constructor made a grid .*for every piece of θ.*: build it from"):
        block(torch.randn(3, 2))


def test_steppings_with_tensors_among_their_options_are_compared_by_value() -> None:
    t = torch.tensor([0.3, 0.5])
    assert Adaptive(jump_t=t) == Adaptive(jump_t=t.clone())
    assert Adaptive(jump_t=t) != Adaptive(jump_t=t + 1)
    assert Adaptive(jump_t=t) != Adaptive(jump_t=None)
    assert Adaptive(jump_t=t) != Adaptive()
    assert hash(Adaptive(jump_t=t)) == hash(Adaptive(jump_t=t.clone()))


@pytest.mark.parametrize("gradient", METHODS, ids=repr)
@pytest.mark.parametrize("stepping", [Adaptive(), Adaptive("rk4"), Adaptive("explicit_adams")], ids=repr)
@pytest.mark.parametrize("shape", [(0, 2), (3, 0)], ids=str)
def test_an_empty_batch_is_solved_without_a_warning(
    gradient: GradientMethod, stepping: Adaptive, shape: tuple[int, ...], recwarn: pytest.WarningsRecorder
) -> None:
    if isinstance(gradient, Checkpointed) and stepping.method == "explicit_adams":
        stepping = Adaptive("heun3")
    block = ODEBlock(Constant(MLPBranch(shape[1] or 1)), stepping, gradient)
    if shape[1] == 0:
        block = ODEBlock(Constant(Rate()), stepping, gradient)
    y = block(torch.zeros(shape, requires_grad=True))
    y.sum().backward()
    assert y.shape == shape
    assert not recwarn.list


class Rate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.ones(()))

    def forward(self, t: Time, x: Tensor) -> Tensor:
        return self.rate * x


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("dopri5", {"max_step": math.inf, "min_step": 0.0, "first_step": None, "step_t": None, "jump_t": []}),
        ("dopri5", {"first_step": torch.tensor(0.1), "max_num_steps": np.int64(50), "jump_t": np.array([0.5])}),
        ("rk4", {"step_size": None, "grid_constructor": None, "interp": "cubic", "perturb": True}),
        ("implicit_adams", {"implicit": True, "max_order": 12, "max_iters": 1}),
        ("scipy_solver", {"solver": "BDF", "max_step": 0.1, "min_step": 0.0}),
    ],
    ids=str,
)
def test_options_of_torchdiffeq_are_kept_as_given(method: str, options: dict[str, Any]) -> None:
    assert Adaptive(method, **options).options == options


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("dopri5", {"first_step": "0.1"}, "first_step must be a number or a tensor or None, got '0.1'"),
        ("dopri5", {"max_step": -1.0}, "max_step must be .*greater than 0.*got -1.0"),
        ("dopri5", {"jump_t": ["a"]}, r"jump_t\[0\] must be a number.*got 'a'"),
        ("implicit_adams", {"max_order": 13}, "max_order must be a whole number from 1 to 12.*got 13"),
        ("rk4", {"interp": "cube"}, "unknown interp 'cube'; did you mean 'cubic'"),
        ("scipy_solver", {"solver": "rk54"}, "unknown solver 'rk54'. Known: BDF, DOP853, LSODA"),
        ("explicit_adams", {"implicit": True}, "unknown option of torchdiffeq's explicit_adams 'implicit'"),
        (
            "rk4",
            {"step_size": 0.1, "grid_constructor": max},
            "step_size = 0.1 .* grid_constructor, .*: pass one",
        ),
    ],
    ids=str,
)
def test_options_of_the_wrong_type_or_range_are_refused_at_construction(
    method: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Adaptive(method, **options)
