"""Gradient methods: ways to compute ∂L/∂x(0) and ∂L/∂θ from ∂L/∂x(T). The method runs the solve over the pieces."""

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
    """Base class of the ways to solve a flow so that a backward pass through the result gives its gradient."""

    @abstractmethod
    def integrate(
        self, stepping: Stepping, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None
    ) -> Tensor:
        """Compute x(T) from x(0).

        Args:
            stepping: choice of the steps.
            pieces: pieces of θ.
            field: vector field that evaluates the pieces and counts the evaluations.
            x: initial state x(0).
            projection: projection applied to x after every step, or None.
        """

    def forward_stepping(self, stepping: Stepping) -> Stepping:
        """Return the stepping whose evaluations of F the forward pass makes; most methods take that of the block."""
        return stepping

    def check(self, stepping: Stepping, projection: Projection | None) -> None:  # noqa: B027 (most refuse nothing)
        """Raise a `ValueError` if the method cannot differentiate a flow with this stepping and projection."""


class Backprop(GradientMethod):
    """Backpropagation through the steps ("discretize, then optimize"): exact, with memory O(number of steps).

    The gradient is that of the discrete network, so it is exact at any step size. Autograd keeps the intermediate
    values of s·N evaluations of F, for N steps of s stages.
    """

    def integrate(
        self, stepping: Stepping, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None
    ) -> Tensor:
        """Compute x(T), with the steps recorded by autograd."""
        return stepping.integrate(pieces, field, x, projection)

    def __repr__(self) -> str:
        return "Backprop()"


class ContinuousAdjoint(GradientMethod):
    """The continuous adjoint ("optimize, then discretize"): solves a′ = -aᵀ·∂F/∂x back from a(T) = ∂L/∂x(T).

    torchdiffeq takes the steps. Memory is independent of the number of steps (one state per piece), but the gradient is
    not exact: x(t) is solved again, backward in time, so the result approaches the gradient of the *continuous* flow as
    the steps shrink, and is not that of the discrete network. With coarse steps (Euler with h = 1) even its direction
    can be wrong (Gholami et al. 2019); use it if both solves are accurate. Only the forward pass updates the statistics
    of BatchNorm, and the backward pass uses its autocast state. Second derivatives are not supported. On a GPU the host
    waits several times per step, about 270 times in a training step of the ODE-Net of Chen et al. at tolerance 1e-3.

    Args:
        rtol: relative tolerance of the backward solve; by default that of the forward solve.
        atol: absolute tolerance of the backward solve; by default that of the forward solve.
        method: torchdiffeq's method for the backward solve; by default that of the forward solve.

    Raises:
        ValueError: if a tolerance is negative or infinite, or torchdiffeq has no such method.
    """

    @checked
    def __init__(self, rtol: Number | None = None, atol: Number | None = None, method: str | None = None) -> None:
        given = {"adjoint_rtol": rtol, "adjoint_atol": atol, "adjoint_method": method}
        self.backward = {name: value for name, value in given.items() if value is not None}
        if any(not 0 <= value < math.inf for name, value in self.backward.items() if name != "adjoint_method"):
            raise ValueError(f"rtol = {rtol!r}, atol = {atol!r}; tolerances must be finite and ≥ 0: pass such numbers.")
        if method is not None:
            Adaptive(method)  # raises if torchdiffeq has no such method

    def integrate(
        self, stepping: Stepping, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None
    ) -> Tensor:
        """Compute x(T), and keep only the states at the ends of the pieces.

        Raises:
            ValueError: if the state is complex, or a branch draws random numbers (dropout) or changes its buffers, so
                that the backward solve would evaluate another function.
        """
        del projection  # refused by `check`
        if not torch.is_grad_enabled():
            return stepping.integrate_with_adjoint(pieces, field, x, self.backward)
        if x.is_complex():
            raise ValueError(
                f"ContinuousAdjoint was asked for with a state of {x.dtype} in {field.label}, but torchdiffeq solves "
                "the adjoint equation for real states only: use Backprop() or Checkpointed(), or torch.view_as_real(x)."
            )
        pieces = [_require_no_dropout(piece) for piece in pieces]
        generators = Generators(torch.device("cpu") if x.is_meta else x.device)
        buffers = buffers_of(node for piece in pieces for node in piece.nodes)
        generators.record()
        y = stepping.integrate_with_adjoint(pieces, field, x, self.backward)
        generators.record()
        buffers.record()
        if field.positions is not None:
            field.positions.forget()
        if generators.changed or buffers.changed:
            does = "draws random numbers" if generators.changed else f"changes the buffer {buffers.describe_change()}"
            raise ValueError(
                f"ContinuousAdjoint was asked for in {field.label}, but a branch {does}, so the backward solve, which "
                "evaluates it at other times, would evaluate another function: use Backprop() or Checkpointed(), or "
                "evaluation mode."
            )
        return y

    def check(self, stepping: Stepping, projection: Projection | None) -> None:
        """Refuse projections, and steppings that cannot solve the adjoint equation with these options."""
        if projection is not None:
            raise ValueError(
                f"{self!r} was asked for with projection = {projection!r}, but the adjoint equation holds for smooth "
                "flows only: use Backprop(), or pre-activation branches without a projection."
            )
        stepping.check_adjoint(self.backward)

    def __repr__(self) -> str:
        arguments = (f"{name.removeprefix('adjoint_')}={value!r}" for name, value in self.backward.items())
        return f"ContinuousAdjoint({', '.join(arguments)})"


def _require_no_dropout(piece: Piece) -> Piece:
    """Return the piece; raise a `ValueError` if its branch has active dropout."""
    for node in piece.nodes:
        for name, module in node.named_modules():
            if isinstance(module, _DropoutNd | nn.AlphaDropout) and module.training and module.p > 0:
                raise ValueError(
                    f"ContinuousAdjoint was asked for with active dropout {name!r}; the backward solve evaluates the "
                    "branch at other times and cannot draw the same masks: use Backprop(), or dropout outside the flow."
                )
    return piece
