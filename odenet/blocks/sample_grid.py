"""The steps that each sample accepted, to be taken again, all samples at once, and differentiated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from odenet.blocks.embedded_steps import EmbeddedSteps, Taken
from odenet.blocks.error_control import spread, time_of
from odenet.blocks.field import Field
from odenet.blocks.solvers import VectorField

StateAndSlope: TypeAlias = tuple[Tensor, Tensor]
"""x, and the slope there that the step before handed on."""

StepsProgram: TypeAlias = Callable[[VectorField, "Grid", Tensor, Tensor], StateAndSlope]


class Grid(NamedTuple):
    """Steps from t0 to t1 of length h: in each row one of every sample, with h = 0 where a sample took fewer."""

    t0: Tensor
    t1: Tensor
    h: Tensor

    def rows(self, first: int, last: int) -> Grid:
        """Some of the rows."""
        return Grid(self.t0[first:last], self.t1[first:last], self.h[first:last])


def accepted_grid(start: float, taken: Sequence[Taken], x: Tensor, multiple: int) -> Grid:
    """The grid of what the attempts on a piece came to, without those that nobody accepted.

    Args:
        start: of the piece.
        taken: attempts in order, each of shape (batch, 1, …, 1) or several of them stacked.
        x: a state; the grid is spread beside such.
        multiple: of which the number of rows shall be.
    """
    one = (-1, len(x), *[1] * (x.dim() - 1))
    t1, h = (torch.cat([part.reshape(one) for part in parts]) for parts in zip(*taken, strict=True))
    accepted = h > 0
    rows = int(accepted.sum(0).max())
    rows += -rows % multiple
    order = torch.argsort((~accepted).byte(), dim=0, stable=True)[:rows]
    h = h.gather(0, order)
    # After a sample's last step its t stays.
    ends = torch.cat([torch.full_like(t1[:1], start), torch.where(h > 0, t1.gather(0, order), start)]).cummax(0).values
    t0, t1 = ends[:-1], ends[1:]
    return Grid(*(spread(times, x.expand(len(times), *x.shape)) for times in (t0, t1, h)))


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
