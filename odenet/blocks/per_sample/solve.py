"""Solves in which every sample of the batch has its own t and h.

A step is attempted for all samples at once, and accepted or rejected for each of them. After every few attempts the
host reads whether all samples have finished. Samples that have finished are masked: their h is 0, and their state does
not change by a single bit.
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
"""Number of attempts in a program by columns, where an attempt takes no longer than the call of a program."""
PROGRAMS_PER_SYNC = 8
"""Calls of a program before the host waits for an accelerator to read the results; it does not wait anywhere else."""
EVALUATIONS_TO_BEGIN = 2
"""Number of evaluations of F for the first slope and the first h on a piece."""

AttemptsProgram: TypeAlias = Callable[[VectorField, Samples, Bounds], tuple[Samples, Attempt | None, Tensor]]
"""(f, samples, bounds) ↦ samples after some attempts, results of these attempts, largest number of steps left."""


class PerSample:
    """Solver by an embedded pair with error control and a budget per sample.

    Args:
        method: name of the pair.
        tolerance: tolerance of the error of a step.
        max_evaluations: largest number of evaluations of F for each sample; None for `MOST_ATTEMPTS` attempts on each
            piece.
        projection: projection applied to x after each accepted step.
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
        """Compute x(T) from x = x(0), with the gradient of the accepted steps if a gradient is wanted."""
        if not wants_gradient(pieces, x):
            captured = field.find_captures() if torch.is_grad_enabled() else []
            solution = self._solve(pieces, field, x, record=False, with_gradient=False)
            if not captured:
                return solution.x
        solution = self._solve(pieces, field, match_requires_grad(x, pieces), record=True, with_gradient=True)
        if solution.finite:
            return solution.x
        # The gradient through a rejected attempt that is not finite is NaN, so only the accepted steps are taken again.
        known = self._known_steps(solution.grids, field, x)
        del solution  # free its graph
        for piece, steps in known:
            x = steps(field.at(piece), x)
        return x

    def grids(self, pieces: Iterable[Piece], field: Field, x: Tensor) -> list[PieceGrid]:
        """Return the grids of the accepted steps of `solve`, for every piece with any accepted step."""
        return self._solve(pieces, field, x, record=True, with_gradient=False).grids

    def accepted_steps(self, pieces: Iterable[Piece], field: Field, x: Tensor) -> list[tuple[Piece, GridSteps]]:
        """Return the accepted steps of `solve`, one by one or in groups, so that they can be taken again."""
        return self._known_steps(self.grids(pieces, field, x), field, x)

    def _known_steps(self, grids: list[PieceGrid], field: Field, x: Tensor) -> list[tuple[Piece, GridSteps]]:
        steps, known = self._steps(field, x), list[tuple[Piece, GridSteps]]()
        program = steps_program(steps)
        for piece, grid, active_samples in grids:
            compiled = field.program(("steps", self.method, steps.by_columns), program)
            active, row = grid if active_samples is None else grid.select(active_samples), 0
            while row < len(grid.h):
                first, row = row, row + _attempts_per_graph(steps, len(grid.h) - row)
                last = row == len(grid.h)
                known.append(
                    (piece, GridSteps(compiled, steps.cost, active.rows(first, row), active_samples, last=last))
                )
        return known

    def _solve(
        self, pieces: Iterable[Piece], field: Field, x: Tensor, *, record: bool, with_gradient: bool
    ) -> _Solution:
        """Solve over all pieces, and return the grids of the accepted steps too if `record`."""
        _require_a_batch(x, field.label)
        if not x.numel():
            return _Solution(x, [], finite=True)
        generators = Generators(torch.device("cpu") if x.is_meta else x.device)
        generators.record()
        with torch.set_grad_enabled(with_gradient):
            batch, grids, end = _Batch(x if with_gradient else x.detach()), list[PieceGrid](), 0.0
            for piece in (separable(piece, field.label) for piece in pieces):
                field.enter(piece)
                if not isinstance(piece.field, nn.Module):
                    field.fall_back_to_eager(
                        "its field is a new function in every solve (interpolated, scaled by noise, or projected)",
                        "use Constant or PiecewiseConstant, without noise and projection",
                    )
                attempts = self._solve_piece(piece, field, batch, record=record)
                if attempts and batch.summary.most_accepted:
                    grid = accepted_grid(piece.start, attempts, batch.t.shape, batch.summary.most_accepted)
                    grids.append(PieceGrid(piece, grid, grid.active_samples(batch.summary.active_samples)))
                end = piece.end
        if not with_gradient and torch.is_autocast_enabled(x.device.type):
            # The cache holds weights that were cast without a graph, and the next use under autocast would reuse them.
            torch.clear_autocast_cache()
        generators.record()
        if generators.changed:
            raise random_numbers_error(field.label)
        field.last_solve = report = batch.report()
        if batch.summary.running < len(x):
            report.warn(self.method, field.label, end, advice(self.tolerance.rtol, x.dtype))
        return _Solution(batch.x, grids, batch.summary.finite)

    def _solve_piece(self, piece: Piece, field: Field, batch: _Batch, *, record: bool) -> list[Attempt]:
        """Advance the batch to the end of a piece, and return the results of all attempts if `record`, else none."""
        limit = self._limit(batch)
        batch.status = torch.where((batch.status == RUNNING) & (limit < 1), BUDGET_SPENT, batch.status)
        if not batch.summary.running or self._attempts_left(batch.summary.evaluations) < 1:
            batch.summary = batch.summary._replace(running=0)
            return []
        start, end = (torch.full((), t, dtype=batch.t.dtype, device=batch.x.device) for t in (piece.start, piece.end))
        steps = self._steps(field, batch.x)
        bounds = Bounds(end, limit, self._tolerance(batch.t))
        samples = self._begin(steps, piece, field, batch, start, bounds)
        # The first program makes one attempt, because the first h is a cautious guess from which the number of steps
        # cannot be estimated.
        steps_left, steps_left_on_device = 1.0, batch.t
        calls, attempts = _programs_per_sync(batch.x), list[Attempt]()
        while steps_left > 0:
            number = _attempts_per_graph(steps, steps_left)
            program = self._attempts_program(steps, field, number, record=record)
            for _ in range(calls):
                samples, attempt, steps_left_on_device = program(piece.field, samples, bounds)
                attempts += [] if attempt is None else [attempt]
                field.evaluations += field.cost * steps.cost * number
            steps_left = batch.read(samples, steps_left_on_device, steps.cost)
        batch.finish_piece(samples, steps.cost)
        return attempts

    def _steps(self, field: Field, x: Tensor) -> EmbeddedSteps:
        by_columns = field.programs is not None and is_narrow(x)
        steps = self.steps
        return EmbeddedSteps(steps.pair, by_columns=True, projection=steps.projection) if by_columns else steps

    def _tolerance(self, like: Tensor) -> Tolerance:
        """Return the tolerance as tensors, so that one program serves all tolerances."""
        return Tolerance(
            *(torch.full((), float(each), dtype=like.dtype, device=like.device) for each in self.tolerance)
        )

    def _begin(
        self, steps: EmbeddedSteps, piece: Piece, field: Field, batch: _Batch, start: Tensor, bounds: Bounds
    ) -> Samples:
        """Return the samples before their first attempt on a piece, after two evaluations of F."""
        x = batch.x
        slope = field(start.to(x.dtype), x).to(x.dtype)
        field.evaluations += field.cost
        t = torch.where(batch.status == RUNNING, start, batch.t)
        try:
            return steps.begin(piece.field, t, x, slope, batch.status, bounds)
        except (RuntimeError, TypeError, ValueError) as error:
            raise scalar_time_error(error, field.label) from error

    def _limit(self, batch: _Batch) -> Tensor:
        """Return the largest number of attempts of each sample on the next piece."""
        left = self._attempts_left(batch.evaluations)
        return left if isinstance(left, Tensor) else torch.full_like(batch.evaluations, left)

    def _attempts_left(self, evaluations: Any) -> Any:
        """Return the number of attempts that the budget allows after some evaluations, a number or a tensor."""
        if self.max_evaluations is None:
            return MOST_ATTEMPTS
        return (self.max_evaluations - EVALUATIONS_TO_BEGIN - evaluations) // self.steps.cost

    def _attempts_program(self, steps: EmbeddedSteps, field: Field, number: int, *, record: bool) -> AttemptsProgram:
        """Return a program that makes `number` attempts, and returns their results if `record`."""

        def program(f: VectorField, samples: Samples, bounds: Bounds) -> tuple[Samples, Attempt | None, Tensor]:
            attempts: list[Attempt] = []
            for _ in range(number):
                samples, attempt = steps.attempt(f, samples, bounds)
                attempts.append(attempt)
            stacked = Attempt(*map(torch.stack, zip(*attempts, strict=True))) if record else None
            return samples, stacked, steps.steps_left(samples, bounds.end)

        key = ("attempts", self.method, steps.by_columns, number, record, torch.is_grad_enabled())
        return field.program(key, program)


class PieceGrid(NamedTuple):
    """The accepted steps on a piece of θ.

    Args:
        piece: piece of θ.
        grid: grid of the accepted steps of all samples.
        active_samples: indices of the samples that accepted any step; None if all of them did.
    """

    piece: Piece
    grid: Grid
    active_samples: Tensor | None


class _Solution(NamedTuple):
    """Result of a solve."""

    x: Tensor
    grids: list[PieceGrid]
    finite: bool
    """Whether the results of all attempts were finite."""


class _Summary(NamedTuple):
    """Numbers about the batch at the end of a piece, which the host reads from the device all at once."""

    running: int
    """Number of samples that continue on the next piece."""
    evaluations: int = 0
    """Smallest number of evaluations of F of these samples."""
    most_accepted: int = 0
    """Largest number of steps that a sample accepted on the piece."""
    active_samples: int = 0
    """Number of samples that accepted any step on the piece."""
    finite: bool = True
    """Whether the results of all attempts were finite so far."""


class _Batch:
    """A batch between two pieces; every tensor but x has one entry per sample, of shape (batch, 1, …, 1)."""

    def __init__(self, x: Tensor) -> None:
        one = (len(x), *[1] * (x.dim() - 1))
        self.x = x
        self.t = torch.zeros(one, dtype=torch.float64, device=x.device)
        self.status, self.evaluations, self.accepted, self.rejected = (
            torch.zeros(one, dtype=torch.int32, device=x.device) for _ in range(4)
        )
        self.finite = torch.ones(one, dtype=torch.bool, device=x.device)
        self.summary = _Summary(len(x))

    def read(self, samples: Samples, steps_left: Tensor, cost: int) -> float:
        """Return `steps_left` as a number and, if it is 0, update the summary; an attempt costs `cost` evaluations."""
        if _reading_is_free(self.x) and (left := float(steps_left)) > 0:
            return left
        continues, evaluations = samples.status == FINISHED, self._evaluations(samples, cost)
        values = (
            steps_left,
            continues.sum(),
            torch.where(continues, evaluations, torch.iinfo(evaluations.dtype).max).min(),
            samples.accepted.max(),
            (samples.accepted > 0).sum(),
            (self.finite & samples.finite).all(),
        )
        left, *numbers = torch.stack([value.double() for value in values]).tolist()
        running, fewest, most_accepted, active_samples, finite = map(int, numbers)
        self.summary = _Summary(running, fewest, most_accepted, active_samples, bool(finite))
        return left

    def finish_piece(self, samples: Samples, cost: int) -> None:
        """Take over the samples at the end of a piece; those that finished it continue on the next piece."""
        self.evaluations = self._evaluations(samples, cost)
        self.accepted, self.rejected = self.accepted + samples.accepted, self.rejected + samples.rejected
        self.x, self.t, self.finite = joined(samples.x), samples.t, self.finite & samples.finite
        self.status = torch.where(samples.status == FINISHED, RUNNING, samples.status)

    def _evaluations(self, samples: Samples, cost: int) -> Tensor:
        attempts = samples.accepted + samples.rejected
        return self.evaluations + (self.status == RUNNING) * (EVALUATIONS_TO_BEGIN + cost * attempts)

    def report(self) -> SolveReport:
        """Return the report at the end of the last piece, which all running samples have reached."""
        status = torch.where(self.status == RUNNING, FINISHED, self.status)
        values = (status, self.t, self.evaluations, self.accepted, self.rejected)
        return SolveReport(*(value.flatten() for value in values))


def _attempts_per_graph(steps: EmbeddedSteps, steps_left: float) -> int:
    return ATTEMPTS_PER_GRAPH if steps.by_columns and steps_left > ATTEMPTS_PER_GRAPH - 1 else 1


def _programs_per_sync(x: Tensor) -> int:
    return 1 if _reading_is_free(x) else PROGRAMS_PER_SYNC


def _reading_is_free(x: Tensor) -> bool:
    return x.device.type == "cpu"


def _require_a_batch(x: Tensor, label: str) -> None:
    if x.dim() == 0 or not x.is_floating_point():
        raise ValueError(
            f"per_sample=True was asked for in {label} with a state of shape {tuple(x.shape)} and {x.dtype}; the first "
            "axis must be the batch, and the dtype real: pass a floating-point tensor of shape (batch, …)."
        )
