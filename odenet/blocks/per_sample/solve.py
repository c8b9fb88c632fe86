"""Solves in which every sample of the batch has a t and an h of its own.

A step is tried for all samples at once, and each accepts or rejects it for itself. The host looks every few attempts
whether all have finished. Those that have are masked: their h is 0, and their state stays as it is, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from odenet.blocks.compile.columns import is_narrow, joined
from odenet.blocks.errors import MOST_ATTEMPTS, SolveReport, advice
from odenet.blocks.field import Field
from odenet.blocks.per_sample.error_control import Tolerance
from odenet.blocks.per_sample.grid import Grid, GridSteps, accepted_grid, steps_program
from odenet.blocks.per_sample.separable import random_numbers_error, scalar_time_error, separable
from odenet.blocks.per_sample.steps import BUDGET_SPENT, FINISHED, RUNNING, Attempt, Bounds, EmbeddedSteps, Samples
from odenet.blocks.projections import ConvexProjection
from odenet.blocks.replay.generators import Generators
from odenet.blocks.solvers.embedded import PAIRS
from odenet.blocks.solvers.runge_kutta import VectorField
from odenet.blocks.theta.base import Piece, match_requires_grad, wants_gradient

ATTEMPTS_PER_GRAPH = 4
"""Steps in a program by columns, where one takes no longer than to call a program; near the end, one."""
STEPS_PER_SYNC = 8
"""Attempts that an accelerator is given before the host waits for what they came to; it waits for nothing else."""
FIRST = 2
"""Evaluations of F for the first slope and the first h on a piece."""

AttemptsProgram: TypeAlias = Callable[[VectorField, Samples, Bounds], tuple[Samples, Attempt | None, Tensor]]


class PerSample:
    """Solves of a field over pieces of θ by an embedded pair, within a budget for each sample.

    Args:
        method: name of the pair.
        tolerance: of a step.
        max_evaluations: of F at a sample; None for `MOST_ATTEMPTS` attempts on each piece.
        projection: applied to x after each step that a sample accepts.
    """

    def __init__(
        self,
        method: str,
        tolerance: Tolerance,
        max_evaluations: int | None,
        projection: ConvexProjection | None = None,
    ) -> None:
        self.method, self.tolerance, self.max_evaluations = method, tolerance, max_evaluations
        self.steps = EmbeddedSteps(PAIRS[method], projection=projection)

    def solve(self, pieces: Sequence[Piece], field: Field, x: Tensor) -> Tensor:
        """x(T); on autograd's tape, if a gradient is wanted, are the steps that were accepted."""
        if not wants_gradient(pieces, x):
            captured = field.find_captures() if torch.is_grad_enabled() else []
            found = self._solve(pieces, field, x, noted=False, taped=False)
            if not captured:
                return found.x
        found = self._solve(pieces, field, match_requires_grad(x, pieces), noted=True, taped=True)
        if found.finite:
            return found.x
        # The derivative of what is not finite is NaN, even where its weight is zero: the accepted steps once more.
        known = self._known_steps(found.grids, field, x)
        del found  # and the tape that leads to it
        for piece, steps in known:
            x = steps(field.at(piece), x)
        return x

    def grids(self, pieces: Iterable[Piece], field: Field, x: Tensor) -> list[PieceGrid]:
        """The steps by which `solve` arrives at x(T), for every piece on which any were accepted."""
        return self._solve(pieces, field, x, noted=True, taped=False).grids

    def accepted_steps(self, pieces: Iterable[Piece], field: Field, x: Tensor) -> list[tuple[Piece, GridSteps]]:
        """The same, to be taken again one by one, or a few at a time."""
        return self._known_steps(self.grids(pieces, field, x), field, x)

    def _known_steps(self, grids: list[PieceGrid], field: Field, x: Tensor) -> list[tuple[Piece, GridSteps]]:
        steps, found = self._steps(field, x), list[tuple[Piece, GridSteps]]()
        program = steps_program(steps)
        for piece, grid, active_samples in grids:
            compiled = field.program(("steps", self.method, steps.by_columns), program)
            moved, row = grid if active_samples is None else grid.of(active_samples), 0
            while row < len(grid.h):
                first, row = row, row + _attempts_per_graph(steps, len(grid.h) - row)
                last = row == len(grid.h)
                found.append(
                    (piece, GridSteps(compiled, steps.cost, moved.rows(first, row), active_samples, last=last))
                )
        return found

    def _solve(self, pieces: Iterable[Piece], field: Field, x: Tensor, *, noted: bool, taped: bool) -> _Solved:
        _require_a_batch(x, field.label)
        if not x.numel():
            return _Solved(x, [], finite=True)
        generators = Generators(torch.device("cpu") if x.is_meta else x.device)
        generators.record()
        with torch.set_grad_enabled(taped):
            batch, grids, end = _Batch(x if taped else x.detach()), list[PieceGrid](), 0.0
            for piece in (separable(piece, field.label) for piece in pieces):
                field.enter(piece)
                if not isinstance(piece.field, nn.Module):
                    field.fall_back_to_eager(
                        "its field is made anew for every solve (θ is interpolated, or scaled by stochastic depth)",
                        "use Constant or PiecewiseConstant, without noise",
                    )
                taken = self._over(piece, field, batch, noted=noted)
                if taken and batch.look.rows:
                    grid = accepted_grid(piece.start, taken, batch.t.shape, batch.look.rows)
                    grids.append(PieceGrid(piece, grid, grid.active_samples(batch.look.active_samples)))
                end = piece.end
        if not taped and torch.is_autocast_enabled(x.device.type):
            # It holds weights that were cast without a graph, for whoever uses them next under the same autocast.
            torch.clear_autocast_cache()
        generators.record()
        if generators.changed:
            raise random_numbers_error(field.label)
        field.last_solve = report = batch.report()
        if batch.look.running < len(x):
            report.warn(self.method, field.label, end, advice(self.tolerance.rtol, x.dtype))
        return _Solved(batch.x, grids, batch.look.finite)

    def _over(self, piece: Piece, field: Field, batch: _Batch, *, noted: bool) -> list[Attempt]:
        """Move the batch over a piece; where `noted`, what every attempt came to."""
        limit = self._limit(batch)
        batch.status = torch.where((batch.status == RUNNING) & (limit < 1), BUDGET_SPENT, batch.status)
        if not batch.look.running or self._attempts_left(batch.look.evaluations) < 1:
            batch.look = batch.look._replace(running=0)
            return []
        start, end = (torch.full((), t, dtype=batch.t.dtype, device=batch.x.device) for t in (piece.start, piece.end))
        steps = self._steps(field, batch.x)
        bounds = Bounds(end, limit, self._tolerance(batch.t))
        samples = self._begun(steps, piece, field, batch, start, bounds)
        # One attempt at first: h is a cautious guess yet, and says little of how many steps there will be.
        left, ahead = 1.0, batch.t
        between, notes = _steps_per_sync(batch.x), list[Attempt]()
        while left > 0:
            number = _attempts_per_graph(steps, left)
            program = self._attempts(steps, field, number, noted=noted)
            for _ in range(between):
                samples, taken, ahead = program(piece.field, samples, bounds)
                notes += [] if taken is None else [taken]
                field.evaluations += field.cost * steps.cost * number
            left = batch.look_at(samples, ahead, steps.cost)
        batch.move(samples, steps.cost)
        return notes

    def _steps(self, field: Field, x: Tensor) -> EmbeddedSteps:
        by_columns = field.programs is not None and is_narrow(x)
        steps = self.steps
        return EmbeddedSteps(steps.pair, by_columns=True, projection=steps.projection) if by_columns else steps

    def _tolerance(self, like: Tensor) -> Tolerance:
        """As tensors: one program serves all tolerances."""
        return Tolerance(
            *(torch.full((), float(each), dtype=like.dtype, device=like.device) for each in self.tolerance)
        )

    def _begun(
        self, steps: EmbeddedSteps, piece: Piece, field: Field, batch: _Batch, start: Tensor, bounds: Bounds
    ) -> Samples:
        """The samples before their first attempt: two evaluations, of which the field looks at the first."""
        x = batch.x
        slope = field(start.to(x.dtype), x).to(x.dtype)
        field.evaluations += field.cost
        t = torch.where(batch.status == RUNNING, start, batch.t)
        try:
            return steps.begin(piece.field, t, x, slope, batch.status, bounds)
        except (RuntimeError, TypeError, ValueError) as error:
            raise scalar_time_error(error, field.label) from error

    def _limit(self, batch: _Batch) -> Tensor:
        """The attempts that each sample may make on a piece, two evaluations being for its first slope and h."""
        left = self._attempts_left(batch.evaluations)
        return left if isinstance(left, Tensor) else torch.full_like(batch.evaluations, left)

    def _attempts_left(self, evaluations: Any) -> Any:
        """The same number after so many evaluations, given as a number or as a tensor."""
        if self.max_evaluations is None:
            return MOST_ATTEMPTS
        return (self.max_evaluations - FIRST - evaluations) // self.steps.cost

    def _attempts(self, steps: EmbeddedSteps, field: Field, number: int, *, noted: bool) -> AttemptsProgram:
        def program(f: VectorField, samples: Samples, bounds: Bounds) -> tuple[Samples, Attempt | None, Tensor]:
            notes: list[Attempt] = []
            for _ in range(number):
                samples, taken = steps.attempt(f, samples, bounds)
                notes.append(taken)
            taken = Attempt(*map(torch.stack, zip(*notes, strict=True))) if noted else None
            return samples, taken, steps.steps_left(samples, bounds.end)

        key = ("attempts", self.method, steps.by_columns, number, noted, torch.is_grad_enabled())
        return field.program(key, program)


class PieceGrid(NamedTuple):
    """The steps that were accepted on a piece of θ.

    Args:
        piece: the piece.
        grid: the steps.
        active_samples: numbers of the samples that take any; None where all do.
    """

    piece: Piece
    grid: Grid
    active_samples: Tensor | None


class _Solved(NamedTuple):
    """What a solve came to."""

    x: Tensor
    grids: list[PieceGrid]
    finite: bool
    """Whether all trials were."""


class _Look(NamedTuple):
    """What the host knows of the samples at the end of a piece; it reads all of it at once."""

    running: int
    """Number of samples that go on."""
    evaluations: int = 0
    """Fewest evaluations of F at a sample that goes on."""
    rows: int = 0
    """Most steps that a sample accepted on the piece."""
    active_samples: int = 0
    """Number of samples that accepted any step on it."""
    finite: bool = True
    """Whether all trials were finite so far."""


class _Batch:
    """A batch between two pieces; all but x and the look of shape (batch, 1, …, 1)."""

    def __init__(self, x: Tensor) -> None:
        one = (len(x), *[1] * (x.dim() - 1))
        self.x = x
        self.t = torch.zeros(one, dtype=torch.float64, device=x.device)
        self.status, self.evaluations, self.accepted, self.rejected = (
            torch.zeros(one, dtype=torch.int32, device=x.device) for _ in range(4)
        )
        self.finite = torch.ones(one, dtype=torch.bool, device=x.device)
        self.look = _Look(len(x))

    def look_at(self, samples: Samples, ahead: Tensor, cost: int) -> float:
        """Return how many steps the slowest sample has before it; where there are none, `look` is what was read."""
        if _reading_is_free(self.x) and (left := float(ahead)) > 0:
            return left
        goes_on, evaluations = samples.status == FINISHED, self._evaluations(samples, cost)
        read = (
            ahead,
            goes_on.sum(),
            torch.where(goes_on, evaluations, torch.iinfo(evaluations.dtype).max).min(),
            samples.accepted.max(),
            (samples.accepted > 0).sum(),
            (self.finite & samples.finite).all(),
        )
        left, *numbers = torch.stack([each.double() for each in read]).tolist()
        running, fewest, rows, active_samples, finite = map(int, numbers)
        self.look = _Look(running, fewest, rows, active_samples, bool(finite))
        return left

    def move(self, samples: Samples, cost: int) -> None:
        """Those that run have been over a piece, where the first slope and h cost `FIRST`, and an attempt `cost`."""
        self.evaluations = self._evaluations(samples, cost)
        self.accepted, self.rejected = self.accepted + samples.accepted, self.rejected + samples.rejected
        self.x, self.t, self.finite = joined(samples.x), samples.t, self.finite & samples.finite
        self.status = torch.where(samples.status == FINISHED, RUNNING, samples.status)

    def _evaluations(self, samples: Samples, cost: int) -> Tensor:
        tried = samples.accepted + samples.rejected
        return self.evaluations + (self.status == RUNNING) * (FIRST + cost * tried)

    def report(self) -> SolveReport:
        """At the end of the last piece, where those that still run have finished."""
        status = torch.where(self.status == RUNNING, FINISHED, self.status)
        values = (status, self.t, self.evaluations, self.accepted, self.rejected)
        return SolveReport(*(value.flatten() for value in values))


def _attempts_per_graph(steps: EmbeddedSteps, ahead: float) -> int:
    return ATTEMPTS_PER_GRAPH if steps.by_columns and ahead > ATTEMPTS_PER_GRAPH - 1 else 1


def _steps_per_sync(x: Tensor) -> int:
    return 1 if _reading_is_free(x) else STEPS_PER_SYNC


def _reading_is_free(x: Tensor) -> bool:
    return x.device.type == "cpu"


def _require_a_batch(x: Tensor, label: str) -> None:
    if x.dim() == 0 or not x.is_floating_point():
        raise ValueError(
            f"per_sample=True was asked for in {label} with a state of shape {tuple(x.shape)} and {x.dtype}; its first "
            "axis is that of the samples, and errors are real numbers: pass a floating-point tensor (batch, …)."
        )
