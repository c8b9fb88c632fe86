r"""Reversible steps on grids that error control chose, for each sample its own.

An embedded pair finds the steps that each sample accepts, without a tape. On them the method is stepped once more, made
reversible by the coupling of McCallum and Foster (`Coupled`), with h and c of the sample,

    y₁ = c·y₀ + (1 - c)·z₀ + Ψ_h(z₀),      z₁ = z₀ - Ψ_{-h}(y₁),

and h = 0, c = 1 where a sample took fewer steps than others: it stays as it is.
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
    """The method of an embedded pair, coupled; its steps end at times of the shape (batch, 1, …, 1).

    Args:
        steps: of the pair.
        coupling: c of each sample, of that shape.
    """

    def __init__(self, steps: EmbeddedSteps, coupling: Tensor) -> None:
        self.steps, self.coupling = steps, coupling

    @property
    def order(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] (that of another object)
        """Of the method."""
        return self.steps.pair.order

    def shears(self, t0: Any, t1: Any) -> Sequence[Shear]:
        """First y towards z and forwards from z, then z forwards from y."""
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
        """That of the sample for which it is largest."""
        steps = torch.stack([t1 != t0 for _, t0, t1 in spans]).sum(0)
        return float((-steps * self.coupling.log()).max())

    def __repr__(self) -> str:
        return f"Coupled(order {self.order}, for each sample)"


def coupled_plan(
    solver: PerSample, pieces: Iterable[Piece], field: Field, x: Tensor, coupling: float | None
) -> ReversiblePlan | None:
    """The steps that each sample accepts, coupled; None where no sample takes any.

    Args:
        solver: finds the steps, by error control of each sample.
        pieces: pieces of θ.
        field: evaluates the pieces, and counts.
        x: x(0).
        coupling: c; by default exp(-5/N) for a sample of N steps.
    """
    grids = solver.grids(pieces, field, x)
    if not grids:
        return None
    together = Grid(*map(torch.cat, zip(*(grid for _, grid, _ in grids), strict=True)))
    steps = (together.h > 0).sum(0).double()
    active = grids[0].active_samples  # a sample that takes no step on a piece has stopped, and takes none on later ones
    grids = [(piece, grid if active is None else grid.of(active)) for piece, grid, _ in grids]
    steps = steps if active is None else steps[active]
    couplings = torch.exp(-GROWTH / steps) if coupling is None else torch.full_like(steps, coupling)
    spans = [(piece, t0, t1) for piece, grid in grids for t0, t1 in zip(grid.t0, grid.t1, strict=True)]
    return ReversiblePlan(spans, CoupledSamples(solver.steps, couplings), active)
