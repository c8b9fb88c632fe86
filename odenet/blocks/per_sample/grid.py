"""Grids of accepted steps per sample, and programs that take these steps again for all samples at once."""

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
"""x and the slope at x, which is the last slope of the previous step."""

StepsProgram: TypeAlias = Callable[[VectorField, "Grid", Tensor, Tensor], StateAndSlope]
"""(f, grid, x, slope) ↦ x and its slope after all steps of the grid."""


class Grid(NamedTuple):
    """Steps from t0 to t1 of length h, of shape (steps, batch, 1, …, 1); h = 0 where a sample took fewer steps."""

    t0: Tensor
    t1: Tensor
    h: Tensor

    def rows(self, first: int, last: int) -> Grid:
        """Return the steps first, …, last - 1."""
        return Grid(*(each[first:last] for each in self))

    def select(self, samples: Tensor) -> Grid:
        """Return the grid of the samples with these indices."""
        return Grid(*(each[:, samples] for each in self))

    def active_samples(self, number: int) -> Tensor | None:
        """Return the indices of the samples that take any step, or None if all of them do.

        Args:
            number: number of these samples.
        """
        is_active = (self.h > 0).flatten(1).any(0)
        if number == len(is_active):
            return None
        # The same as nonzero(), which would make the host wait.
        return is_active.byte().argsort(descending=True, stable=True)[:number]


def accepted_grid(start: float, attempts: Sequence[Attempt], shape: Sequence[int], rows: int) -> Grid:
    """Return the grid of the accepted steps on a piece.

    Args:
        start: start of the piece.
        attempts: results of all attempts in order, in stacks of several attempts.
        shape: shape of one entry per sample, (batch, 1, …, 1).
        rows: largest number of steps that a sample accepted.
    """
    t1, h = (torch.cat([part.reshape(-1, *shape) for part in parts]) for parts in zip(*attempts, strict=True))
    accepted = h > 0
    row = accepted.cumsum(0) - 1
    row = torch.where(accepted, row, rows)  # rejected attempts go to an extra row, which is dropped
    h = h.new_zeros(rows + 1, *h.shape[1:]).scatter_(0, row, h)[:rows]
    t1 = t1.new_full((rows + 1, *t1.shape[1:]), start).scatter_(0, row, t1)[:rows]
    # After its last step a sample keeps its t.
    ends = torch.cat([torch.full_like(h[:1], start, dtype=t1.dtype), t1]).cummax(0).values
    return Grid(ends[:-1], ends[1:], h)


def steps_program(steps: EmbeddedSteps) -> StepsProgram:
    """Return the program that takes all steps of a grid, one after the other."""

    def program(f: VectorField, grid: Grid, x: Tensor, slope: Tensor) -> StateAndSlope:
        for t0, t1, h in zip(*grid, strict=True):
            x, slope = steps.step(f, t0, t1, h, x, slope)
        return x, slope

    return program


class GridSteps:
    """Consecutive known steps on a piece of θ: a map from the state before them to the state after them.

    The first steps on a piece receive x, and the last steps return x, because the slope jumps with θ. In between, the
    state also holds the slope. Samples that take no step on the piece are left out: their slope may be infinite or NaN,
    and zero times it would make every gradient NaN.

    Args:
        program: program that takes the steps.
        cost: number of evaluations of F per step.
        grid: grid of the steps, for the active samples.
        active_samples: indices of the samples that take steps on the piece; None for all.
        last: whether these are the last steps on the piece.
    """

    def __init__(
        self, program: StepsProgram, cost: int, grid: Grid, active_samples: Tensor | None, *, last: bool
    ) -> None:
        self.program, self.cost, self.grid, self.active_samples, self.last = program, cost, grid, active_samples, last

    def __call__(self, f: VectorField, state: Tensor | tuple[Tensor, ...]) -> Any:
        """Return the state after the steps.

        The state is x; or between the steps of a piece (x, slope) of the active samples, followed by x of all samples
        if some are not active.
        """
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
