"""The steps that each sample accepted, to be taken again, all samples at once, and differentiated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from odenet.blocks.embedded_steps import EmbeddedSteps, Taken
from odenet.blocks.error_control import time_of
from odenet.blocks.field import Field
from odenet.blocks.solvers import VectorField

StateAndSlope: TypeAlias = tuple[Tensor, Tensor]
"""x, and the slope there that the step before handed on."""

StepsProgram: TypeAlias = Callable[[VectorField, "Grid", Tensor, Tensor], StateAndSlope]


class Grid(NamedTuple):
    """Steps from t0 to t1 of length h, of shape (steps, batch, 1, …, 1): h = 0 where a sample took fewer of them."""

    t0: Tensor
    t1: Tensor
    h: Tensor

    def rows(self, first: int, last: int) -> Grid:
        """Some of the rows."""
        return Grid(self.t0[first:last], self.t1[first:last], self.h[first:last])


def accepted_grid(start: float, taken: Sequence[Taken], shape: Sequence[int], multiple: int) -> Grid:
    """The grid of what the attempts on a piece came to, without those that nobody accepted.

    Args:
        start: of the piece.
        taken: attempts in order, several of them stacked.
        shape: of what belongs to a sample, (batch, 1, …, 1).
        multiple: of which the number of rows shall be.
    """
    t1, h = (torch.cat([part.reshape(-1, *shape) for part in parts]) for parts in zip(*taken, strict=True))
    accepted = h > 0
    row = accepted.cumsum(0) - 1
    rows = int(row[-1].max()) + 1
    rows += -rows % multiple
    row = torch.where(accepted, row, rows)  # one more, for what was rejected
    h = h.new_zeros(rows + 1, *h.shape[1:]).scatter_(0, row, h)[:rows]
    t1 = t1.new_full((rows + 1, *t1.shape[1:]), start).scatter_(0, row, t1)[:rows]
    # After a sample's last step its t stays.
    ends = torch.cat([torch.full_like(h[:1], start, dtype=t1.dtype), t1]).cummax(0).values
    return Grid(ends[:-1], ends[1:], h)


def steps_program(steps: EmbeddedSteps) -> StepsProgram:
    """All steps of a grid, one after the other, as one tensor program."""

    def program(f: VectorField, grid: Grid, x: Tensor, slope: Tensor) -> StateAndSlope:
        for t0, t1, h in zip(*grid, strict=True):
            x, slope = steps.step(f, t0, t1, h, x, slope)
        return x, slope

    return program


class GridSteps:
    """Known steps: x, or x and its slope, before them ↦ x and its slope after them.

    Args:
        program: takes them.
        cost: evaluations that a step takes.
        grid: of these steps.
        last: on its piece of θ; they hand on x alone, for the slope is another on the next.
    """

    def __init__(self, program: StepsProgram, cost: int, grid: Grid, *, last: bool) -> None:
        self.program, self.cost, self.grid, self.last = program, cost, grid, last

    def __call__(self, f: VectorField, state: Tensor | StateAndSlope) -> Any:
        """The state after the steps."""
        x, slope = state if isinstance(state, tuple) else (state, None)
        if slope is None:
            slope = f(time_of(self.grid.t0[0], x), x).to(x.dtype)
        branch = f.branch if isinstance(f, Field) else f
        after = self.program(branch, self.grid, x, slope)
        if isinstance(f, Field):
            f.evaluations += f.cost * self.cost * len(self.grid.h)
        return after[0] if self.last else after
