"""Gradient methods: how ∂L/∂x(0) and ∂L/∂θ are had from ∂L/∂x(T). The method owns the loop over the pieces."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from odenet.blocks.annotations import Number
from odenet.blocks.arguments import checked
from odenet.blocks.field import Field
from odenet.blocks.replay.buffers import buffers_of
from odenet.blocks.replay.generators import Generators
from odenet.blocks.stepping.adaptive import Adaptive
from odenet.blocks.stepping.base import Projection, Stepping
from odenet.blocks.theta.base import Piece


class GradientMethod(ABC):
    """Integrates a flow so that a backward pass through the result gives its gradient."""

    @abstractmethod
    def integrate(
        self, stepping: Stepping, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None
    ) -> Tensor:
        """x(T) from x(0)."""

    def check(self, stepping: Stepping, projection: Projection | None) -> None:  # noqa: B027 (most refuse nothing)
        """Raise a `ValueError` where the method cannot differentiate such a flow."""


class Backprop(GradientMethod):
    """Discretize, then optimize: differentiates the steps themselves, exactly, with memory O(number of steps).

    The gradient is that of the discrete network, so it is right at any step size. Every intermediate value that
    autograd needs is kept: s·N evaluations of F for N steps of s stages.
    """

    def integrate(
        self, stepping: Stepping, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None
    ) -> Tensor:
        """x(T), on autograd's tape."""
        return stepping.integrate(pieces, field, x, projection)

    def __repr__(self) -> str:
        return "Backprop()"


class ContinuousAdjoint(GradientMethod):
    """Optimize, then discretize: solves a′ = -aᵀ·∂F/∂x backwards from a(T) = ∂L/∂x(T), by torchdiffeq.

    Memory is independent of the number of steps (one state a piece), at the price of exactness: x(t) is solved again
    backwards, so the result approaches the true gradient of the *continuous* flow as the steps shrink, and is not the
    gradient of the discrete one. At coarse steps (Euler with h = 1) it can point elsewhere altogether (Gholami et al.
    2019); use it where both solves are accurate. BatchNorm's statistics are updated by the forward pass alone, and
    autocast is as in the forward pass. First derivatives only.

    Args:
        rtol: of the solve backwards; by default that of the solve forwards.
        atol: likewise.
        method: torchdiffeq's method backwards; by default that of the solve forwards.
    """

    @checked
    def __init__(self, rtol: Number | None = None, atol: Number | None = None, method: str | None = None) -> None:
        given = {"adjoint_rtol": rtol, "adjoint_atol": atol, "adjoint_method": method}
        self.backward = {name: value for name, value in given.items() if value is not None}
        if any(not 0 <= value < math.inf for name, value in self.backward.items() if name != "adjoint_method"):
            raise ValueError(f"rtol = {rtol!r}, atol = {atol!r}; a tolerance is not negative: pass positive numbers.")
        if method is not None:
            # Raises where torchdiffeq has no such method.
            Adaptive(method)

    def integrate(
        self, stepping: Stepping, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None
    ) -> Tensor:
        """x(T), of which only the states between pieces are kept.

        Raises:
            ValueError: a complex state; or a branch that a second solve could not evaluate as the first one did, for
                it draws random numbers (dropout) or changes its buffers.
        """
        del projection  # refused by `check`
        if not torch.is_grad_enabled():
            return stepping.integrate_with_adjoint(pieces, field, x, self.backward)
        if x.is_complex():
            raise ValueError(
                f"ContinuousAdjoint was asked for with a state of {x.dtype} in {field.label}; torchdiffeq solves the "
                "adjoint equation for real states: use Backprop() or Checkpointed(), or torch.view_as_real(x)."
            )
        pieces = [_without_dropout(piece) for piece in pieces]
        generators = Generators(torch.device("cpu") if x.is_meta else x.device)
        buffers = buffers_of(node for piece in pieces for node in piece.nodes)
        generators.note()
        y = stepping.integrate_with_adjoint(pieces, field, x, self.backward)
        generators.note()
        buffers.note()
        if generators.moved or buffers.moved:
            does = "draws random numbers" if generators.moved else f"changes the buffer {buffers.changed()}"
            raise ValueError(
                f"ContinuousAdjoint was asked for in {field.label}, and a branch {does}; the solve backwards evaluates "
                "the branch elsewhere, where it would be another one: use Backprop() or Checkpointed(), or evaluation "
                "mode."
            )
        return y

    def check(self, stepping: Stepping, projection: Projection | None) -> None:
        """Refuse a projection, solvers that cannot step the adjoint equation, and tolerances for steps without any."""
        if projection is not None:
            raise ValueError(
                f"{self!r} was asked for with projection = {projection!r}; the adjoint equation is that of a smooth "
                "flow: use Backprop(), or pre-activation branches without a projection."
            )
        stepping.check_adjoint(self.backward)

    def __repr__(self) -> str:
        arguments = (f"{name.removeprefix('adjoint_')}={value!r}" for name, value in self.backward.items())
        return f"ContinuousAdjoint({', '.join(arguments)})"


def _without_dropout(piece: Piece) -> Piece:
    for node in piece.nodes:
        for name, module in node.named_modules():
            if isinstance(module, _DropoutNd | nn.AlphaDropout) and module.training and module.p > 0:
                raise ValueError(
                    f"ContinuousAdjoint was asked for with active dropout {name!r}; the solve backwards evaluates the "
                    "branch elsewhere and cannot draw the same masks: use Backprop(), or dropout outside the flow."
                )
    return piece
