"""Adaptive steps of embedded pairs, every sample of the batch with a t and an h of its own.

A step is tried for all samples at once, and each accepts or rejects it for itself: one tensor program, in which
nothing depends on data but the numbers, so that it compiles as one graph. The host looks every few attempts whether
all samples have finished. Those that have are masked: their h is 0, and their state stays as it is, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from odenet.blocks.embedded_steps import EmbeddedSteps, Samples
from odenet.blocks.field import Field
from odenet.blocks.solve_status import SolveReport, Status
from odenet.blocks.theta import Piece

MOST_ATTEMPTS = 4096
"""Steps tried for a sample on a piece of θ where no budget was given."""


class PerSample:
    """Solves of a field over pieces of θ, by `steps`, within a budget for each sample.

    Args:
        steps: the embedded pair and its tolerance.
        max_evaluations: of F at a sample; None for `MOST_ATTEMPTS` attempts on each piece.
    """

    def __init__(self, steps: EmbeddedSteps, max_evaluations: int | None) -> None:
        self.steps, self.max_evaluations = steps, max_evaluations

    @torch.no_grad()
    def solve(self, pieces: Iterable[Piece], field: Field, x: Tensor) -> tuple[Tensor, SolveReport]:
        """x(T), and how every sample came there; without a tape."""
        progress = _Progress(x)
        for piece in pieces:
            field.enter(piece)
            self._over(piece, field, progress)
        return progress.x, progress.report()

    def _over(self, piece: Piece, field: Field, progress: _Progress) -> None:
        start, end = (
            torch.as_tensor(t, dtype=progress.t.dtype, device=progress.x.device) for t in (piece.start, piece.end)
        )
        limit = self._limit(progress)
        progress.stop(limit < 1, Status.BUDGET_SPENT)
        t = torch.where(progress.running, start, progress.t)
        slope = field(t.to(progress.x.dtype), progress.x).to(progress.x.dtype)
        samples = self.steps.begin(piece.field, t, progress.x, slope, progress.status, end)
        while bool((samples.status == Status.RUNNING).any()):
            samples = self.steps.attempt(piece.field, samples, end, limit)
            field.evaluations += field.cost * self.steps.cost
        progress.move(samples, 2, self.steps.cost)

    def _limit(self, progress: _Progress) -> Tensor:
        """The attempts that each sample may make on a piece, two evaluations being for its first slope and h."""
        if self.max_evaluations is None:
            return torch.full_like(progress.evaluations, MOST_ATTEMPTS)
        return (self.max_evaluations - 2 - progress.evaluations) // self.steps.cost


class _Progress:
    """The batch between two pieces."""

    def __init__(self, x: Tensor) -> None:
        one = (len(x), *[1] * (x.dim() - 1))
        self.x = x
        self.t = torch.zeros(one, dtype=torch.float64, device=x.device)
        self.status, self.evaluations, self.accepted, self.rejected = (
            torch.zeros(one, dtype=torch.int32, device=x.device) for _ in range(4)
        )

    @property
    def running(self) -> Tensor:
        """Which samples go on."""
        return self.status == Status.RUNNING

    def stop(self, which: Tensor, status: Status) -> None:
        """Stop those of the running samples."""
        self.status = torch.where(self.running & which, status, self.status).to(self.status.dtype)

    def move(self, samples: Samples, first: int, cost: int) -> None:
        """Those that ran over a piece are where `samples` are, and finished ones may run over the next."""
        attempts = samples.accepted + samples.rejected
        self.evaluations = self.evaluations + torch.where(self.running, first + cost * attempts, 0)
        self.accepted, self.rejected = self.accepted + samples.accepted, self.rejected + samples.rejected
        self.x, self.t = samples.x, samples.t
        self.status = torch.where(samples.status == Status.FINISHED, Status.RUNNING, samples.status)

    def report(self) -> SolveReport:
        """At the end, where those that still run have finished."""
        status = torch.where(self.running, Status.FINISHED, self.status)
        values = (status, self.t, self.evaluations, self.accepted, self.rejected)
        return SolveReport(*(value.flatten() for value in values))
