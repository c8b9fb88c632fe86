"""Solves in which every sample of the batch has a t and an h of its own.

A step is tried for all samples at once, and each accepts or rejects it for itself. The host looks every few attempts
whether all have finished. Those that have are masked: their h is 0, and their state stays as it is, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from odenet.blocks.embedded import PAIRS
from odenet.blocks.embedded_steps import BUDGET_SPENT, FINISHED, RUNNING, EmbeddedSteps, Samples, Taken
from odenet.blocks.error_control import Tolerance, gathered, is_narrow, spread
from odenet.blocks.field import Field
from odenet.blocks.sample_grid import Grid, GridSteps, accepted_grid, steps_program
from odenet.blocks.separable import refuses_times_of_samples, separable
from odenet.blocks.solve_status import SolveReport
from odenet.blocks.solvers import VectorField
from odenet.blocks.theta import Piece

MOST_ATTEMPTS = 4096
"""Steps tried for a sample on a piece of θ where no budget was given."""
UNROLLED = 4
"""Steps in a compiled program on narrow states, where one takes no longer than to call the program."""
BETWEEN_LOOKS = 8
"""Attempts that an accelerator is given before the host waits for what they came to."""

AttemptsProgram: TypeAlias = Callable[[VectorField, Samples, Tensor, Tensor], tuple[Samples, Taken | None]]


class PerSample:
    """Solves of a field over pieces of θ by an embedded pair, within a budget for each sample.

    Args:
        method: name of the pair.
        tolerance: of a step.
        max_evaluations: of F at a sample; None for `MOST_ATTEMPTS` attempts on each piece.
    """

    def __init__(self, method: str, tolerance: Tolerance, max_evaluations: int | None) -> None:
        self.method, self.tolerance, self.max_evaluations = method, tolerance, max_evaluations
        self.steps = EmbeddedSteps(PAIRS[method], tolerance)

    def solve(self, pieces: Iterable[Piece], field: Field, x: Tensor) -> Tensor:
        """x(T), without a tape."""
        return self._solve(pieces, field, x, noted=False)[0]

    def grids(self, pieces: Iterable[Piece], field: Field, x: Tensor) -> list[tuple[Piece, Grid]]:
        """The steps by which `solve` arrives at x(T), for every piece on which any were accepted."""
        return self._solve(pieces, field, x, noted=True)[1]

    def accepted_steps(self, pieces: Iterable[Piece], field: Field, x: Tensor) -> list[tuple[Piece, GridSteps]]:
        """The same, to be taken again one by one, or a few at a time."""
        found = []
        for piece, grid in self.grids(pieces, field, x):
            number = _unrolled(field, x)
            program = field.program(("steps", self.method), steps_program(self.steps))
            for row in range(0, len(grid.h), number):
                last = row + number >= len(grid.h)
                found.append((piece, GridSteps(program, self.steps.cost, grid.rows(row, row + number), last=last)))
        return found

    @torch.no_grad()
    def _solve(
        self, pieces: Iterable[Piece], field: Field, x: Tensor, *, noted: bool
    ) -> tuple[Tensor, list[tuple[Piece, Grid]]]:
        _require_a_batch(x, field.label)
        if not x.numel():
            return x, []
        batch, grids, end = _Batch(x.detach()), list[tuple[Piece, Grid]](), 0.0
        for piece in (separable(piece, field.label) for piece in pieces):
            field.enter(piece)
            if not isinstance(piece.field, nn.Module):
                field.run_uncompiled(
                    "its field is made anew for every solve (θ is interpolated, or scaled by stochastic depth)",
                    "use Constant or PiecewiseConstant, without noise",
                )
            taken = self._over(piece, field, batch, noted=noted)
            if taken and len((grid := accepted_grid(piece.start, taken, batch.t.shape, _unrolled(field, x))).h):
                grids.append((piece, grid))
            end = piece.end
        if torch.is_autocast_enabled(x.device.type):
            # It holds weights that were cast without a graph, for whoever uses them next under the same autocast.
            torch.clear_autocast_cache()
        field.last_solve = report = batch.report()
        report.warn(self.method, field.label, end, _hint(self.tolerance, x))
        return batch.x, grids

    def _over(self, piece: Piece, field: Field, batch: _Batch, *, noted: bool) -> list[Taken]:
        """Move the batch over a piece; where `noted`, what every attempt came to."""
        limit = self._limit(batch)
        batch.status = torch.where((batch.status == RUNNING) & (limit < 1), BUDGET_SPENT, batch.status)
        if not batch.is_running():
            return []
        start, end = (torch.tensor(t, dtype=batch.t.dtype, device=batch.x.device) for t in (piece.start, piece.end))
        samples = self._begun(piece, field, batch, start, end)
        number = _unrolled(field, batch.x)
        program = self._attempts(field, number, noted=noted)
        limit, between, notes = spread(limit, batch.x), _between_looks(batch.x), list[Taken]()
        while int(samples.status.min()) == RUNNING:
            for _ in range(between):
                samples, taken = program(piece.field, samples, end, limit)
                notes += [] if taken is None else [taken]
                field.evaluations += field.cost * self.steps.cost * number
        batch.move(samples, 2, self.steps.cost)
        return notes

    def _begun(self, piece: Piece, field: Field, batch: _Batch, start: Tensor, end: Tensor) -> Samples:
        """The samples before their first attempt: two evaluations, of which the field looks at the first."""
        x = batch.x
        slope = field(start.to(x.dtype), x).to(x.dtype)
        field.evaluations += field.cost
        t = torch.where(batch.status == RUNNING, start, batch.t)
        try:
            return self.steps.begin(piece.field, t, x, slope, batch.status, end)
        except (RuntimeError, TypeError, ValueError) as error:
            raise refuses_times_of_samples(error, field.label) from error

    def _limit(self, batch: _Batch) -> Tensor:
        """The attempts that each sample may make on a piece, two evaluations being for its first slope and h."""
        if self.max_evaluations is None:
            return torch.full_like(batch.evaluations, MOST_ATTEMPTS)
        return (self.max_evaluations - 2 - batch.evaluations) // self.steps.cost

    def _attempts(self, field: Field, number: int, *, noted: bool) -> AttemptsProgram:
        steps = self.steps

        def program(f: VectorField, samples: Samples, end: Tensor, limit: Tensor) -> tuple[Samples, Taken | None]:
            notes: list[Taken] = []
            for _ in range(number):
                samples, taken = steps.attempt(f, samples, end, limit)
                notes.append(taken)
            return samples, Taken(*map(torch.stack, zip(*notes, strict=True))) if noted else None

        key = ("attempts", self.method, self.tolerance, number, noted)
        return field.program(key, program)


class _Batch:
    """A batch between two pieces; all but x of shape (batch, 1, …, 1)."""

    def __init__(self, x: Tensor) -> None:
        one = (len(x), *[1] * (x.dim() - 1))
        self.x = x
        self.t = torch.zeros(one, dtype=torch.float64, device=x.device)
        self.status, self.evaluations, self.accepted, self.rejected = (
            torch.zeros(one, dtype=torch.int32, device=x.device) for _ in range(4)
        )

    def is_running(self) -> bool:
        """Whether any sample goes on."""
        return bool((self.status == RUNNING).any())

    def move(self, samples: Samples, first: int, cost: int) -> None:
        """Those that run have been over a piece, where the first slope and h cost `first`, and an attempt `cost`."""
        accepted, rejected, status = (gathered(v) for v in (samples.accepted, samples.rejected, samples.status))
        self.evaluations = self.evaluations + (self.status == RUNNING) * (first + cost * (accepted + rejected))
        self.accepted, self.rejected = self.accepted + accepted, self.rejected + rejected
        self.x, self.t = samples.x, gathered(samples.t)
        self.status = torch.where(status == FINISHED, RUNNING, status)

    def report(self) -> SolveReport:
        """At the end of the last piece, where those that still run have finished."""
        status = torch.where(self.status == RUNNING, FINISHED, self.status)
        values = (status, self.t, self.evaluations, self.accepted, self.rejected)
        return SolveReport(*(value.flatten() for value in values))


def _unrolled(field: Field, x: Tensor) -> int:
    return UNROLLED if field.programs is not None and is_narrow(x) else 1


def _between_looks(x: Tensor) -> int:
    return 1 if x.device.type == "cpu" else BETWEEN_LOOKS


def _hint(tolerance: Tolerance, x: Tensor) -> str:
    rounding = torch.finfo(x.dtype).eps
    if tolerance.rtol > 4 * rounding:
        return ""
    return f" rtol = {tolerance.rtol:g} is at or below the rounding of {x.dtype}, {rounding:.1g}."


def _require_a_batch(x: Tensor, label: str) -> None:
    if x.dim() == 0 or not x.is_floating_point():
        raise ValueError(
            f"per_sample=True was asked for in {label} with a state of shape {tuple(x.shape)} and {x.dtype}; its first "
            "axis is that of the samples, and errors are real numbers: pass a floating-point tensor (batch, …)."
        )
