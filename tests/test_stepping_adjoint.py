"""The backward solves of `ContinuousAdjoint` equal those of `torchdiffeq.odeint_adjoint` bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchdiffeq import odeint_adjoint
from torchdiffeq._impl.odeint import SOLVERS

from odenet import Adaptive, Backprop, Checkpointed, Constant, ContinuousAdjoint, FixedSteps, ODEBlock, Reversible
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.stepping.base import Stepping
from odenet.blocks.theta.base import Time

METHODS = sorted(SOLVERS)
ERROR_CONTROL = {method for method, solver in SOLVERS.items() if hasattr(solver, "tableau")}
FIXED_GRID = set(METHODS) - ERROR_CONTROL - {"scipy_solver"}
HORIZON = 1.3


class ForcedTanh(nn.Module):
    """F(t, x) = tanh(x Aᵀ + sin(3t)·b), with t clamped to the horizon, as a block does."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.evaluations = 0

    def forward(self, t: Time, x: Tensor) -> Tensor:
        self.evaluations += 1
        t = torch.as_tensor(t).clamp(0, HORIZON)
        return torch.tanh(self.linear(x) + torch.sin(3 * t) * self.linear.bias)


def forced_tanh(dtype: torch.dtype) -> tuple[ForcedTanh, Tensor]:
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    return ForcedTanh().to(dtype), torch.randn(4, 3, generator=generator).to(dtype).requires_grad_()


def results(field: ForcedTanh, x: Tensor, y: Tensor) -> list[Any]:
    """Return y, the gradients of a function of y, and the numbers of evaluations before and after the backward pass."""
    forwards = field.evaluations
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    gradients = torch.autograd.grad((weights * y.cos()).sum(), [x, *field.parameters()])
    return [y, *gradients, torch.tensor([forwards, field.evaluations])]


def ends(method: str, end: float) -> dict[str, Any]:
    """Return the option that makes torchdiffeq end a step at the end of the interval, as a block does."""
    return {"step_t": torch.tensor([end], dtype=torch.float64)} if method in ERROR_CONTROL else {}


def by_torchdiffeq(
    dtype: torch.dtype, method: str, options: dict[str, Any], backward_method: str, **tolerances: float
) -> list[Any]:
    field, x = forced_tanh(dtype)
    solution: Any = odeint_adjoint(
        field,
        x,
        torch.tensor([0.0, HORIZON], dtype=torch.float64),
        method=method,
        options=options | ends(method, HORIZON),
        adjoint_method=backward_method,
        adjoint_options=(options if backward_method == method else {}) | ends(backward_method, 0.0),
        **tolerances,
    )
    return results(field, x, solution[1])


def by_block(
    dtype: torch.dtype, method: str, options: dict[str, Any], gradient: GradientMethod, **tolerances: Any
) -> list[Any]:
    field, x = forced_tanh(dtype)
    block = ODEBlock(Constant(field, HORIZON), Adaptive(method, **tolerances, **options), gradient)
    return results(field, x, block(x))


def require_equal(ours: list[Any], theirs: list[Any]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_state_gradients_and_evaluations_are_those_of_torchdiffeq(method: str, dtype: torch.dtype) -> None:
    options: dict[str, Any] = {"step_size": 0.1} if method in FIXED_GRID else {}
    tolerances = {"rtol": 1e-4, "atol": 1e-5}
    require_equal(
        by_block(dtype, method, options, ContinuousAdjoint(), **tolerances),
        by_torchdiffeq(dtype, method, options, method, **tolerances),
    )


@pytest.mark.parametrize("backward_method", METHODS)
def test_they_are_also_equal_with_another_method_and_other_tolerances_backward(backward_method: str) -> None:
    gradient = ContinuousAdjoint(1e-3, 1e-6, backward_method)
    tolerances = {"rtol": 1e-4, "atol": 1e-5}
    require_equal(
        by_block(torch.float64, "bosh3", {"max_step": 0.2}, gradient, **tolerances),
        by_torchdiffeq(
            torch.float64,
            "bosh3",
            {"max_step": 0.2},
            backward_method,
            **tolerances,
            adjoint_rtol=1e-3,
            adjoint_atol=1e-6,
        ),
    )


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("dopri5", {"first_step": 0.01, "safety": 0.8}),
        ("dopri5", {"jump_t": torch.tensor([0.4], dtype=torch.float64)}),
        ("adaptive_heun", {"max_step": 0.1}),
        ("rk4", {"perturb": True, "step_size": 0.3}),
        ("midpoint", {"interp": "cubic", "step_size": 0.3}),
        ("explicit_adams", {"max_order": 4, "step_size": 0.1}),
    ],
    ids=str,
)
def test_they_are_also_equal_with_options_of_torchdiffeq(method: str, options: dict[str, Any]) -> None:
    require_equal(
        by_block(torch.float64, method, options, ContinuousAdjoint()),
        by_torchdiffeq(torch.float64, method, options, method, rtol=1e-3, atol=1e-3),
    )


def test_a_second_derivative_is_refused() -> None:
    field, x = forced_tanh(torch.float64)
    y = ODEBlock(Constant(field, HORIZON), Adaptive(), ContinuousAdjoint())(x)
    with pytest.raises(RuntimeError, match=r"create_graph=True.*under ContinuousAdjoint.*: use Backprop\(\) or"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


def test_the_state_that_a_solve_returns_may_be_changed_in_place() -> None:
    field, x = forced_tanh(torch.float64)
    block = ODEBlock(Constant(field, HORIZON), Adaptive(), ContinuousAdjoint())
    expected = torch.autograd.grad(block(x).mul(2).sum(), x)
    y = block(x)
    assert not y._is_view()
    assert torch.equal(torch.autograd.grad(y.mul_(2).sum(), x)[0], expected[0])


@pytest.mark.parametrize("gradient", [Backprop(), Checkpointed(), ContinuousAdjoint(), Reversible()], ids=repr)
def test_torchdiffeqs_table_of_methods_is_not_changed(gradient: GradientMethod) -> None:
    before = dict(SOLVERS)
    steppings: list[Stepping] = [FixedSteps("rk4", 2), Adaptive("dopri5"), Adaptive("rk4"), Adaptive(per_sample=True)]
    for stepping in steppings:
        field, x = forced_tanh(torch.float64)
        block = ODEBlock(Constant(field, HORIZON))
        block.stepping = FixedSteps() if isinstance(gradient, Reversible) else stepping
        if isinstance(gradient, ContinuousAdjoint) and stepping == steppings[-1]:
            continue
        block.gradient = gradient
        block(x).sum().backward()
    assert before == SOLVERS
