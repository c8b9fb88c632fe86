r"""Projections onto a convex set K, and projected dynamical systems, whose states stay in K.

A post-activation residual block is a projected Euler step, x ← P(x + h·F(x)) with P = relu, the projection onto the
nonnegative states. As h → 0 these steps converge to the projected dynamical system

    x′ = Π(x, F(t, x)),      Π(x, v) = lim_{δ→0⁺} (P(x + δ·v) - x)/δ,

where Π projects the slope v onto the tangent cone of K at x (Dupuis and Nagurney 1993; the Skorokhod problem). Fixed
steps apply P after each step. Error control solves the limit: it integrates the field x ↦ Π(P(x), F(t, P(x))), which is
defined everywhere, and applies P after each accepted step, so that no gradient flows to the part of x that P removes.

Π jumps where a state meets or leaves the boundary of K. There every method has order 1 at most, and error control takes
small steps. An error estimate depends on the stages alone, so a step may miss a contact that is shorter than the step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from odenet.blocks.properties import Value
from odenet.blocks.theta.base import Piece, Time
from odenet.blocks.theta.combination import is_equal


class ConvexProjection(Value, ABC):
    """Base class of projections P onto a convex set K and its tangent cones.

    A subclass defines P as `__call__` and Π as `tangent`. P must be idempotent, P(P(x)) = P(x).
    """

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Return P(x), of the same shape as x."""

    @abstractmethod
    def tangent(self, x: Tensor, slope: Tensor) -> Tensor:
        """Return Π(x, v), the slope v projected onto the tangent cone of K at a point x of K."""


class Nonnegative(ConvexProjection):
    """Projection onto x ≥ 0: the ReLU after the addition in a post-activation residual block.

        P(x) = max(x, 0),      Π(x, v) = v where x > 0 or v > 0, else 0.

    >>> Nonnegative()(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    def __call__(self, x: Tensor) -> Tensor:
        """Return max(x, 0)."""
        return torch.relu(x)

    def tangent(self, x: Tensor, slope: Tensor) -> Tensor:
        """Return the slope v where x > 0 or v > 0, and 0 elsewhere."""
        return torch.where((x > 0) | (slope > 0), slope, 0)


class TangentField(NamedTuple):
    """(t, x) ↦ Π(P(x), F(t, P(x))), the field of a projected dynamical system."""

    projection: ConvexProjection
    field: Callable[[Time, Tensor], Tensor]

    def __call__(self, t: Time, x: Tensor) -> Tensor:
        """Return the projected slope at (t, x)."""
        x = self.projection(x)
        return self.projection.tangent(x, self.field(t, x))


def tangent_pieces(pieces: Iterable[Piece], projection: ConvexProjection) -> list[Piece]:
    """Return the pieces with the field of the projected dynamical system in place of their own."""
    return [piece._replace(field=TangentField(projection, piece.field)) for piece in pieces]


def is_relu(projection: object) -> bool:
    """Whether a projection is the ReLU: `Nonnegative()` or torch's function."""
    return projection is torch.relu or projection == Nonnegative()


def require_convex(projection: object, stepping: object) -> None:
    """Raise a `ValueError` unless the projection is None or a `ConvexProjection`, as error control requires."""
    if projection is not None and not isinstance(projection, ConvexProjection):
        raise ValueError(
            f"projection = {projection!r} was asked for with {stepping!r}; error control solves the limit of small "
            "steps, which depends on the tangent cones of the set, and a function does not define them: use "
            "Nonnegative() for the ReLU, a subclass of ConvexProjection, or FixedSteps."
        )


def projected(projection: ConvexProjection, x: Tensor, label: str) -> Tensor:
    """Return P(x); on a CPU, where it needs no synchronization, check that P(P(x)) = P(x).

    Raises:
        ValueError: if P(P(x)) ≠ P(x), on a CPU.
    """
    y = projection(x)
    if y.device.type == "cpu" and not torch.compiler.is_compiling() and not is_equal(projection(y.detach()), y):
        raise ValueError(
            f"{projection!r} was asked for in {label}, but P(P(x)) differs from P(x); error control needs a projection "
            "onto a set, which leaves every point of the set unchanged: correct its __call__."
        )
    return y
