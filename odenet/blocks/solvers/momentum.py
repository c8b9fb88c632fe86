"""Momentum residual networks, as a solver: residual blocks with a velocity (Sander et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from odenet.blocks.annotations import Number
from odenet.blocks.arguments import checked
from odenet.blocks.solvers.reversible import ReversibleSolver, Shear
from odenet.blocks.solvers.runge_kutta import VectorField


class MomentumEuler(ReversibleSolver):
    """The momentum ResNet of Sander et al. 2021 (equation 1): x ← x + v with a velocity v that starts at 0.

        v₁ = v₀ + h·(1 - γ)·(F(t₀, x₀) - v₀),      x₁ = x₀ + h·v₁;      with h = 1,  v₁ = γ·v₀ + (1 - γ)·F(x₀).

    These are semi-implicit Euler steps of x″ = (1 - γ)·(F(t, x) - x′), a heavy ball with friction 1 - γ. The order is 1
    and F is evaluated once per step. The flow differs from x′ = F, so a network trained with one of them should not be
    run with the other. Any residual network becomes a momentum ResNet by assignment, with exact gradients and memory
    independent of its depth by `Reversible`:

    >>> from odenet import BasicBranch, FixedSteps, ODEBlock, PiecewiseConstant, Reversible
    >>> stage = ODEBlock(PiecewiseConstant([BasicBranch(4) for _ in range(8)]))
    >>> stage.stepping, stage.gradient = FixedSteps(MomentumEuler(0.9)), Reversible()

    Undoing a step divides the velocity by 1 - h·(1 - γ), so rounding errors grow by that factor per step.

    Args:
        momentum: momentum γ in (0, 1).

    Raises:
        ValueError: if the momentum lies outside (0, 1), or, in a solve, h·(1 - γ) ≥ 1.
    """

    order = 1
    solves_any_field = False  # x″ = (1 - γ)·(F - x′)

    @checked
    def __init__(self, momentum: Number = 0.9) -> None:
        if not 0 < momentum < 1:
            raise ValueError(
                f"momentum = {momentum!r}; with 0 the velocity forgets its past, so that steps cannot be undone, and "
                "with 1 it never moves: pass a number between 0 and 1, such as 0.9."
            )
        self.momentum = momentum

    def partner(self, f: VectorField, t0: float, x: Tensor) -> Tensor:  # noqa: ARG002
        """Return v₀ = 0."""
        return torch.zeros_like(x)

    def shears(self, t0: float, t1: float) -> Sequence[Shear]:
        """Return the shears: move v towards F(t₀, x), then x by h·v.

        Raises:
            ValueError: if h·(1 - γ) ≥ 1.
        """
        h, rate = t1 - t0, (t1 - t0) * (1 - self.momentum)
        if not rate < 1:
            raise ValueError(
                f"{self!r} was asked for with steps of h = {h:g}; a step multiplies the velocity by "
                f"1 - h·(1 - momentum) = {1 - rate:g}, which must be above 0: take smaller steps (per_piece), or more "
                "momentum."
            )
        return Shear(1, lambda f, x: rate * f(t0, x), scale=1 - rate), Shear(0, lambda _, v: h * v)
