"""Partitioned solvers for separable systems, y′ = F_y(z) and z′ = F_z(y): the symplectic Euler and Verlet methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from odenet.blocks.solvers.reversible import Pair, ReversibleSolver, Shear, pair_dtype
from odenet.blocks.solvers.runge_kutta import VectorField


class SymplecticEuler(ReversibleSolver):
    """The Hamiltonian block of Chang et al. 2018, for a state x = [y, z] of two halves of the channels (dimension 1).

        y₁ = y₀ + h·F_y(t₀, z₀),      z₁ = z₀ + h·F_z(t₀, y₁),

    where F_y must depend on z alone and F_z on y alone, as in `HamiltonianBranch`; in place of the half on which it
    does not depend, each receives a copy of the other half. Order 1. F is evaluated twice per step, and half of each
    result is used.
    """

    order = 1
    solves_any_field = False  # separable systems

    def start(self, f: VectorField, t0: float, x: Tensor) -> Pair:  # noqa: ARG002
        """Return the two halves of x.

        Raises:
            ValueError: if the number of channels is odd, or a branch says that it is not separable.
        """
        if not all(getattr(node, "is_separable", True) for node in getattr(f, "nodes", ())):
            raise ValueError(
                f"{self!r} was asked for with a branch in which the slope of a half depends on this half, such as a "
                "friction: use a Runge-Kutta method, e.g. RK4(), or Adaptive stepping."
            )
        if x.dim() < 2 or x.shape[1] % 2:
            raise ValueError(
                f"{type(self).__name__} was given a state of shape {tuple(x.shape)}; it moves one half of the "
                "channels, dimension 1, by the other: pass an even number of channels."
            )
        y, z = x.to(pair_dtype(x)).chunk(2, dim=1)
        return Pair((y, z), x.dtype)

    def shears(self, t0: float, t1: float) -> Sequence[Shear]:
        """Return the shears: move y by h·F_y(z), then z by h·F_z(y)."""
        h = t1 - t0
        return _partitioned(0, h, t0), _partitioned(1, h, t0)

    def finish(self, state: Any) -> Tensor:
        """Return x = [y, z]."""
        return torch.cat(state.halves, dim=1).to(state.dtype)


class Verlet(SymplecticEuler):
    """The Störmer-Verlet method for a state x = [y, z] of two halves, as in `SymplecticEuler`; order 2, and symplectic.

        y½ = y₀ + h/2·F_y(t₀, z₀),      z₁ = z₀ + h·F_z(t₀ + h/2, y½),      y₁ = y½ + h/2·F_y(t₁, z₁).

    For `HeavyBall` without friction it is the leapfrog method from any initial velocity. F is evaluated three times per
    step, and half of each result is used. Source: Hairer, Lubich and Wanner, *Geometric Numerical Integration*, I.1.4.
    """

    order = 2

    def shears(self, t0: float, t1: float) -> Sequence[Shear]:
        """Return the shears: move y by half a step, z by a step, and y by half a step."""
        h = t1 - t0
        return _partitioned(0, h / 2, t0), _partitioned(1, h, t0 + h / 2), _partitioned(0, h / 2, t1)


def _partitioned(part: int, h: float, t: float) -> Shear:
    """Return the shear that moves a half by h times its slope, a function of the other half."""

    def move(f: VectorField, half: Tensor) -> Tensor:
        return h * f(t, torch.cat([half, half], dim=1)).chunk(2, dim=1)[part]

    return Shear(part, move)
