r"""Reversible steps on the grids that error control chooses for each sample.

An embedded pair finds the steps that each sample accepts, without a gradient. The method of the pair then takes them
again, made reversible by the coupling of McCallum and Foster (`Coupled`), with h and c of each sample,

    y₁ = c·y₀ + (1 - c)·z₀ + Ψ_h(z₀),      z₁ = z₀ - Ψ_{-h}(y₁),

where h = 0 and c = 1 after the last step of a sample, so that its state no longer changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from odenet.blocks.field import Field
from odenet.blocks.per_sample.grid import Grid
from odenet.blocks.per_sample.solve import PerSample
from odenet.blocks.per_sample.steps import EmbeddedSteps
from odenet.blocks.solvers.reversible import GROWTH, ReversibleSolver, Shear
from odenet.blocks.stepping.base import ReversiblePlan
from odenet.blocks.theta.base import Piece


class CoupledSamples(ReversibleSolver):
    """The coupled method of an embedded pair, whose t0 and t1 are tensors of shape (batch, 1, …, 1).

    Args:
        steps: steps of the embedded pair.
        coupling: coupling c of each sample, of shape (batch, 1, …, 1).
    """

    def __init__(self, steps: EmbeddedSteps, coupling: Tensor) -> None:
        self.steps, self.coupling = steps, coupling

    @property
    def order(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] (depends on the pair)
        """Order of the method."""
        return self.steps.pair.order

    def shears(self, t0: Any, t1: Any) -> Sequence[Shear]:
        """Return the two shears of a step: of y by z, then of z by the new y."""
        return (
            Shear(
                0,
                lambda f, z: self.steps.increment(f, t0, t1, z),
                scale=torch.where(t1 == t0, 1.0, self.coupling),
                relative=True,
            ),
            Shear(1, lambda f, y: -self.steps.increment(f, t1, t0, y)),
        )

    def growth(self, spans: Sequence[tuple[Any, Any, Any]]) -> float:
        """Return the logarithm of the growth of rounding errors, for the sample with the largest growth."""
        steps = torch.stack([t1 != t0 for _, t0, t1 in spans]).sum(0)
        return float((-steps * self.coupling.log()).max())

    def __repr__(self) -> str:
        return f"Coupled(order {self.order}, for each sample)"


def coupled_plan(
    solver: PerSample, pieces: Iterable[Piece], field: Field, x: Tensor, coupling: float | None
) -> ReversiblePlan | None:
    """Return a plan of the accepted steps with the coupled method, or None if no sample accepts a step.

    Args:
        solver: solver with error control per sample, which finds the steps.
        pieces: pieces of θ.
        field: vector field that evaluates the pieces and counts the evaluations.
        x: initial state x(0).
        coupling: coupling c of all samples; by default exp(-5/N) for a sample of N steps.
    """
    grids = solver.grids(pieces, field, x)
    if not grids:
        return None
    together = Grid(*map(torch.cat, zip(*(grid for _, grid, _ in grids), strict=True)))
    steps = (together.h > 0).sum(0).double()
    active = grids[0].active_samples  # a sample without a step on the first piece has stopped, and takes none later
    grids = [(piece, grid if active is None else grid.select(active)) for piece, grid, _ in grids]
    steps = steps if active is None else steps[active]
    couplings = torch.exp(-GROWTH / steps) if coupling is None else torch.full_like(steps, coupling)
    spans = [(piece, t0, t1) for piece, grid in grids for t0, t1 in zip(grid.t0, grid.t1, strict=True)]
    return ReversiblePlan(spans, CoupledSamples(solver.steps, couplings), active)
