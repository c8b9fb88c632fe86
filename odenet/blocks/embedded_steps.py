"""One step of an embedded pair for all samples of a batch at once, each with a t, an h and an acceptance of its own.

Tensor programs: nothing in them depends on data but the numbers, so each compiles as one graph. The field is handed
t of shape (batch, 1, …, 1), in the dtype of x.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, add

from odenet.blocks.embedded import EmbeddedPair
from odenet.blocks.error_control import (
    Tolerance,
    gathered,
    initial_step,
    log_growth,
    mean_square,
    smallest_step,
    spread,
    time_of,
)
from odenet.blocks.solve_status import Status
from odenet.blocks.solvers import VectorField

# Plain numbers: torch.compile takes a tensor and a member of an enumeration to be unequal.
RUNNING, FINISHED, BUDGET_SPENT, STEP_UNDERFLOW, NOT_FINITE = map(int, Status)


class Samples(NamedTuple):
    """A batch in the middle of a solve; all but x and its slope belong to samples, and are `spread`."""

    t: Tensor
    h: Tensor
    """Of the next attempt, 0 where there is none."""
    x: Tensor
    slope: Tensor
    memory: Tensor
    """Of the error control."""
    status: Tensor
    accepted: Tensor
    rejected: Tensor


class Taken(NamedTuple):
    """What an attempt came to: steps that end at t1, of length h, 0 where the step was rejected."""

    t1: Tensor
    h: Tensor


class EmbeddedSteps:
    """Steps of `pair`, controlled to `tolerance`.

    A step costs one evaluation less than the pair has stages, for its first slope is the last one of the step before.
    """

    def __init__(self, pair: EmbeddedPair, tolerance: Tolerance) -> None:
        self.pair, self.tolerance = pair, tolerance
        self.cost = pair.stages - 1
        self.order = pair.embedded_order + 1

    def begin(self, f: VectorField, t: Tensor, x: Tensor, slope: Tensor, status: Tensor, end: Tensor) -> Samples:
        """The samples at the start of a piece, with the h of their first attempt; f is evaluated once.

        Args:
            f: the field.
            t: where they are, of shape (batch, 1, …, 1).
            x: the states there.
            slope: f(t, x).
            status: of shape (batch, 1, …, 1); those that run are to run over the piece.
            end: of the piece.
        """
        h = initial_step(f, t, x, slope, self.tolerance, self.order, end)
        h = _clipped(h.to(torch.promote_types(x.dtype, torch.float32)), end - t, status == RUNNING)
        zero = torch.zeros_like(status)
        return Samples(spread(t, x), spread(h, x), x, slope, *(spread(v, x) for v in (0 * h, status, zero, zero)))

    def attempt(self, f: VectorField, samples: Samples, end: Tensor, limit: Tensor) -> tuple[Samples, Taken]:
        """One step tried, and taken where the error allows it.

        Args:
            f: the field.
            samples: before it.
            end: of the piece.
            limit: the attempts that each sample may make, spread.
        """
        t, h, x, slope, memory, status, accepted, rejected = samples
        running = status == RUNNING
        last = h == (end - t).to(h.dtype)
        t1 = torch.where(last, end, t + h)
        x1, slopes = self.slopes(f, t, t1, h, x, slope)
        log_ratio = self.log_ratio(h, x, x1, slopes).to(h.dtype)
        growth, memory = log_growth(log_ratio, memory, self.order)
        good = running & (log_ratio <= 0)
        accepted, rejected = accepted + good, rejected + (running ^ good)
        next_h = h * growth.exp()
        status = torch.where(running & (accepted + rejected >= limit), BUDGET_SPENT, status)
        too_short = running & (next_h < smallest_step(end).to(h.dtype))
        status = torch.where(too_short, STEP_UNDERFLOW, status)
        status = torch.where(too_short & ~(log_ratio < torch.inf), NOT_FINITE, status)
        status = torch.where(good & last, FINISHED, status)
        t = torch.where(good, t1, t)
        after = Samples(
            t,
            _clipped(next_h, end - t, status == RUNNING),
            torch.where(good, x1, x),
            torch.where(good, slopes[-1], slope),
            memory,
            status,
            accepted,
            rejected,
        )
        return after, Taken(gathered(t1), gathered(h * good))

    def step(
        self, f: VectorField, t0: Tensor, t1: Tensor, h: Tensor, x: Tensor, slope: Tensor
    ) -> tuple[Tensor, Tensor]:
        """X and its slope after a step that is known; where h = 0 they are what they were, bit for bit."""
        x1, slopes = self.slopes(f, t0, t1, h, x, slope)
        return torch.where(h > 0, x1, x), torch.where(h > 0, slopes[-1], slope)

    def slopes(
        self, f: VectorField, t0: Tensor, t1: Tensor, h: Tensor, x: Tensor, slope: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """x₁, and the slopes of all stages, the last one at x₁.

        Args:
            f: the field.
            t0: where the step begins.
            t1: where it ends, t0 + h up to rounding.
            h: its length.
            x: the state at t0.
            slope: f(t0, x).
        """
        x1, slopes, step = x, [slope], h.to(x.dtype)
        for c, row in zip(self.pair.c[1:], self.pair.rows, strict=True):
            x1 = x + step * _combined(row, slopes)
            slopes.append(f(time_of(t1 if c == 1 else t0 + c * h, x), x1).to(x.dtype))
        return x1, slopes

    def middle(self, h: Tensor, x: Tensor, slopes: list[Tensor]) -> Tensor | None:
        """x(t0 + h/2) to order 4, from the slopes of a step; None where the pair has no weights for it."""
        return x + h.to(x.dtype) * _combined(self.pair.middle_weights, slopes) if self.pair.middle else None

    def log_ratio(self, h: Tensor, x: Tensor, x1: Tensor, slopes: list[Tensor]) -> Tensor:
        """The logarithm of ‖error/tolerance‖, spread; infinite or NaN where the trial is not finite."""
        error = h.to(x.dtype) * _combined(self.pair.error_weights, slopes)
        scaled = error / self.tolerance.of(torch.maximum(x.abs(), x1.abs()))
        finite = torch.isfinite(x1) & torch.isfinite(slopes[-1])
        return 0.5 * mean_square(torch.where(finite, scaled, torch.inf)).log()


def _combined(weights: Sequence[float], slopes: list[Tensor]) -> Tensor:
    """Σ w_i·k_i over the w_i ≠ 0."""
    (weight, slope), *others = (pair for pair in zip(weights, slopes, strict=False) if pair[0] != 0)
    total = weight * slope
    for weight, slope in others:
        total = add(total, slope, alpha=weight)
    return total


def _clipped(h: Tensor, remaining: Tensor, running: Tensor) -> Tensor:
    """The h of an attempt: up to the end exactly where it is near, and 0 where a sample does not run."""
    remaining = remaining.to(h.dtype)
    return torch.where(running, torch.where(1.01 * h >= remaining, remaining, h), 0.0)
