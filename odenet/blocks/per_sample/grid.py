"""The steps that each sample accepted, to be taken again, all samples at once, and differentiated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from odenet.blocks.field import Field
from odenet.blocks.per_sample.error_control import time_of
from odenet.blocks.per_sample.steps import Attempt, EmbeddedSteps
from odenet.blocks.solvers.runge_kutta import VectorField

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
        return Grid(*(each[first:last] for each in self))

    def of(self, samples: Tensor) -> Grid:
        """Those of some samples, given by their numbers."""
        return Grid(*(each[:, samples] for each in self))

    def active_samples(self, number: int) -> Tensor | None:
        """The numbers of the samples that take any step, of which there are `number`; None where all do."""
        moves = (self.h > 0).flatten(1).any(0)
        if number == len(moves):
            return None
        # As nonzero() gives them, for which the host would wait.
        return moves.byte().argsort(descending=True, stable=True)[:number]


def accepted_grid(start: float, taken: Sequence[Attempt], shape: Sequence[int], rows: int) -> Grid:
    """The grid of what the attempts on a piece came to, without those that nobody accepted.

    Args:
        start: of the piece.
        taken: attempts in order, several of them stacked.
        shape: of what belongs to a sample, (batch, 1, …, 1).
        rows: the most steps that any sample accepted.
    """
    t1, h = (torch.cat([part.reshape(-1, *shape) for part in parts]) for parts in zip(*taken, strict=True))
    accepted = h > 0
    row = accepted.cumsum(0) - 1
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
    """Known steps: what the steps before them on their piece of θ handed on ↦ what they hand on.

    The first ones on a piece are handed x, and the last ones hand on x, for the slope is another on the next piece.
    Samples that take no step on it are left out: their slope, which was not finite perhaps, would make every gradient
    NaN, for NaN times zero is NaN.

    Args:
        program: takes them.
        cost: evaluations that a step takes.
        grid: of these steps.
        active_samples: the samples that it is the grid of; None for all.
        last: on its piece of θ.
    """

    def __init__(
        self, program: StepsProgram, cost: int, grid: Grid, active_samples: Tensor | None, *, last: bool
    ) -> None:
        self.program, self.cost, self.grid, self.active_samples, self.last = program, cost, grid, active_samples, last

    def __call__(self, f: VectorField, state: Tensor | tuple[Tensor, ...]) -> Any:
        """The state after the steps: x, or x and its slope of the samples that move, and x of all if some do not."""
        if isinstance(state, tuple):
            x, slope, *all_ = state
        else:
            x, all_ = (state, []) if self.active_samples is None else (state[self.active_samples], [state])
            slope = f(time_of(self.grid.t0[0], x), x).to(x.dtype)
        x, slope = self.program(f.branch if isinstance(f, Field) else f, self.grid, x, slope)
        if isinstance(f, Field):
            f.evaluations += f.cost * self.cost * len(self.grid.h)
        if not self.last:
            return x, slope, *all_
        return x if self.active_samples is None else all_[0].index_copy(0, self.active_samples, x)
