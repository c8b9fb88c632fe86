"""The continuous adjoint equation of a solve over one piece of θ (Chen et al. 2018, algorithm 1).

The augmented state (∂L/∂t, x, ∂L/∂x, ∂L/∂θ), in this order, and its right-hand side are the ones of
`torchdiffeq.odeint_adjoint`, so that the same solver gives the same numbers. The solver is an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

Augmented: TypeAlias = tuple[Tensor, ...]
"""Augmented state: ∂L/∂t, x, ∂L/∂x, and ∂L/∂θ for each parameter."""
Dynamics: TypeAlias = Callable[[Tensor, Augmented], Augmented]
"""Right-hand side of the augmented equation: the derivative of an augmented state with respect to t."""


def with_adjoint(
    x: Tensor,
    end: Tensor,
    parameters: tuple[Tensor, ...],
    field: Callable[[Tensor, Tensor], Tensor],
    solve_backwards: Callable[[Dynamics, Augmented], Augmented],
) -> Tensor:
    """Return a copy of x(t1) whose gradient is computed by the adjoint equation, solved from t1 back to t0.

    Args:
        x: x(t0), a tensor in the autograd graph.
        end: x(t1), computed without a graph.
        parameters: tensors that the field reads and that require a gradient.
        field: F(t, x) as it is evaluated in the backward solve.
        solve_backwards: function that integrates the dynamics from an augmented state at t1 to the one at t0.
    """
    return _ContinuousAdjoint.apply(field, solve_backwards, end, x, *parameters)


class _ContinuousAdjoint(torch.autograd.Function):
    """(x(t0), parameters) ↦ the known x(t1), with the gradient of the adjoint equation; first derivatives only."""

    @staticmethod
    def forward(ctx: Any, field: Any, solve_backwards: Any, end: Tensor, x: Tensor, *parameters: Tensor) -> Tensor:  # noqa: ARG004
        ctx.field, ctx.solve_backwards = field, solve_backwards
        ctx.save_for_backward(end, *parameters)
        return end.clone()  # the caller may change it in place, and the backward solve starts from x(t1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "a derivative of the gradient (create_graph=True) was asked for under ContinuousAdjoint, but the "
                "adjoint equation gives only first derivatives: use Backprop() or Checkpointed()."
            )
        end, *parameters = ctx.saved_tensors
        state = (end.new_zeros(()), end, *gradients, *map(torch.zeros_like, parameters))
        _, _, *gradients_of_inputs = ctx.solve_backwards(_augmented(ctx.field, tuple(parameters)), state)
        return None, None, None, *gradients_of_inputs


def _augmented(field: Callable[[Tensor, Tensor], Tensor], parameters: tuple[Tensor, ...]) -> Dynamics:
    """Return the map (t, (∂L/∂t, x, a, ∂L/∂θ)) ↦ (-aᵀ·∂F/∂t, F(t, x), -aᵀ·∂F/∂x, -aᵀ·∂F/∂θ).

    A derivative with respect to an input on which F does not depend is 0. ∂L/∂t is not needed, but it is integrated
    because torchdiffeq's error control would choose other steps without it.
    """

    def dynamics(t: Tensor, state: Augmented) -> Augmented:
        with torch.enable_grad():
            inputs = (t.detach().requires_grad_(), state[1].detach().requires_grad_(), *parameters)
            slope = field(*inputs[:2])
            # The graph is retained because every evaluation shares the graphs of the captured tensors.
            found = torch.autograd.grad(slope, inputs, -state[2], allow_unused=True, retain_graph=True)
        time, *others = (torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True))
        return (time, slope, *others)

    return dynamics
