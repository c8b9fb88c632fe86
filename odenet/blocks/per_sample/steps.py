"""One step of an embedded pair for all samples of a batch at once, each with a t, an h and an acceptance of its own.

Tensor programs: nothing in them depends on data but the numbers, so each compiles as one graph. The field is handed
t of shape (batch, 1, …, 1), in the dtype of x.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, add

from odenet.blocks.compile.columns import Parts, columns, joined
from odenet.blocks.errors import Status
from odenet.blocks.per_sample.error_control import (
    Tolerance,
    initial_step,
    log_growth,
    mean_square,
    smallest_step,
    time_of,
)
from odenet.blocks.projections import ConvexProjection
from odenet.blocks.solvers.runge_kutta import VectorField, evaluate_stages
from odenet.blocks.solvers.tableau import ButcherTableau

# Plain numbers: torch.compile takes a tensor and a member of an enumeration to be unequal.
RUNNING, FINISHED, BUDGET_SPENT, STEP_UNDERFLOW, NOT_FINITE = map(int, Status)


class Samples(NamedTuple):
    """A batch in the middle of a solve; all but x and its slope belong to samples: (batch, 1, …, 1)."""

    t: Tensor
    h: Tensor
    """Of the next attempt, 0 where there is none."""
    x: Parts
    slope: Parts
    log_previous_error: Tensor
    """Of the error control."""
    status: Tensor
    accepted: Tensor
    rejected: Tensor
    finite: Tensor
    """Whether all trials were."""


class Bounds(NamedTuple):
    """What the steps on a piece are held to."""

    end: Tensor
    """Of the piece."""
    limit: Tensor
    """The attempts that each sample may make."""
    tolerance: Tolerance


class Attempt(NamedTuple):
    """What an attempt came to: steps that end at t1, of length h, 0 where the step was rejected."""

    t1: Tensor
    h: Tensor


class EmbeddedSteps:
    """Steps of `pair`, and their control.

    A step costs one evaluation less than the pair has stages, for its first slope is the last one of the step before.

    Args:
        pair: of methods.
        by_columns: take the states, of shape (batch, d), by their columns.
        projection: applied to x₁.
    """

    def __init__(
        self, pair: ButcherTableau, *, by_columns: bool = False, projection: ConvexProjection | None = None
    ) -> None:
        self.pair, self.by_columns, self.projection = pair, by_columns, projection
        self.cost = len(pair.stages) - 1
        self.order = pair.embedded_order + 1

    def begin(self, f: VectorField, t: Tensor, x: Tensor, slope: Tensor, status: Tensor, bounds: Bounds) -> Samples:
        """The samples at the start of a piece, with the h of their first attempt; f is evaluated once.

        Args:
            f: the field.
            t: where they are, of shape (batch, 1, …, 1).
            x: the states there.
            slope: f(t, x).
            status: of shape (batch, 1, …, 1); those that run are to run over the piece.
            bounds: that they are held to there.
        """
        with torch.no_grad():
            h = initial_step(f, t, x, slope, bounds.tolerance, self.order, bounds.end)
        h = _clipped(h.to(torch.promote_types(x.dtype, torch.float32)), bounds.end - t, status == RUNNING)
        # A tensor twice among the arguments of a compiled program would be another program.
        accepted, rejected = torch.zeros_like(status), torch.zeros_like(status)
        x_parts, slope_parts = (tuple(part.contiguous() for part in self.parts(each)) for each in (x, slope))
        finite = torch.ones_like(status, dtype=torch.bool)
        return Samples(t, h, x_parts, slope_parts, 0 * h, status, accepted, rejected, finite)

    def attempt(self, f: VectorField, samples: Samples, bounds: Bounds) -> tuple[Samples, Attempt]:
        """One step tried, and taken where the error allows it.

        Args:
            f: the field.
            samples: before it.
            bounds: that they are held to.
        """
        end, last = bounds.end, samples.h == (bounds.end - samples.t).to(samples.h.dtype)
        t1 = torch.where(last, end, samples.t + samples.h)
        x1, slopes = self.slopes(f, samples.t, t1, samples.h, samples.x, samples.slope)
        with torch.no_grad():  # the grid is taken as given: what would follow it are no derivatives of the flow
            log_ratio = self.log_ratio(samples.h, samples.x, x1, slopes, bounds.tolerance).to(samples.h.dtype)
            good = (samples.status == RUNNING) & (log_ratio <= 0)
            t = torch.where(good, t1, samples.t)
            controlled = self._controlled(samples, t, log_ratio, good, good & last, bounds)
        states = {"x": _where(good, self.projected(x1), samples.x), "slope": _where(good, slopes[-1], samples.slope)}
        after = Samples(**{**controlled._asdict(), **states})  # torch.compile 2.11 loses the entries after `_replace`
        return after, Attempt(t1, samples.h * good)

    def ahead(self, samples: Samples, end: Tensor) -> Tensor:
        """How many steps of the length of its next one the slowest sample has before it; 0 where none runs."""
        running = samples.status == RUNNING
        steps = (end - samples.t).to(samples.h.dtype) / torch.where(running, samples.h, 1.0)
        return torch.where(running, steps, 0.0).max()

    def _controlled(
        self, samples: Samples, t: Tensor, log_ratio: Tensor, good: Tensor, finished: Tensor, bounds: Bounds
    ) -> Samples:
        """The samples at t after an attempt, but for their states."""
        running, is_finite = samples.status == RUNNING, log_ratio < torch.inf
        growth, log_previous_error = log_growth(log_ratio, samples.log_previous_error, self.order)
        accepted, rejected = samples.accepted + good, samples.rejected + (running ^ good)
        h = samples.h * growth.exp()
        status = torch.where(running & (accepted + rejected >= bounds.limit), BUDGET_SPENT, samples.status)
        too_short = running & (h < smallest_step(bounds.end).to(h.dtype))
        status = torch.where(too_short, STEP_UNDERFLOW, status)
        status = torch.where(too_short & ~is_finite, NOT_FINITE, status)
        status = torch.where(finished, FINISHED, status)
        h = _clipped(h, bounds.end - t, status == RUNNING)
        finite = samples.finite & (is_finite | ~running)
        return Samples(t, h, samples.x, samples.slope, log_previous_error, status, accepted, rejected, finite)

    def step(
        self, f: VectorField, t0: Tensor, t1: Tensor, h: Tensor, x: Tensor, slope: Tensor
    ) -> tuple[Tensor, Tensor]:
        """X and its slope after a step that is known; where h = 0 they are what they were, bit for bit."""
        parts, slope_parts = self.parts(x), self.parts(slope)
        x1, slopes = self.slopes(f, t0, t1, h, parts, slope_parts)
        return joined(_where(h > 0, self.projected(x1), parts)), joined(_where(h > 0, slopes[-1], slope_parts))

    def projected(self, x: Parts) -> Parts:
        """P(x); x itself without a projection."""
        return x if self.projection is None else self.parts(self.projection(joined(x)))

    def parts(self, x: Tensor) -> Parts:
        """A state as it is handled here."""
        return columns(x) if self.by_columns else (x,)

    def slopes(
        self, f: VectorField, t0: Tensor, t1: Tensor, h: Tensor, x: Parts, slope: Parts
    ) -> tuple[Parts, list[Parts]]:
        """x₁, and the slopes of all stages, the last one at x₁.

        Args:
            f: the field.
            t0: where the step begins.
            t1: where it ends, t0 + h up to rounding.
            h: its length.
            x: the state at t0.
            slope: f(t0, x).
        """
        dtype, step = x[0].dtype, h.to(x[0].dtype)

        def field(t: Tensor, parts: Parts) -> Parts:
            return self.parts(f(time_of(t, x[0]), joined(parts)).to(dtype))

        def moved(weights: Sequence[float], slopes: list[Parts]) -> Parts:
            return tuple(part + step * change for part, change in zip(x, _combined(weights, slopes), strict=True))

        slopes, x1 = evaluate_stages(
            self.pair.stages[1:], field, lambda c: t1 if c == 1 else t0 + c * h, moved, [slope]
        )
        return x1, slopes

    def increment(self, f: VectorField, t0: Tensor, t1: Tensor, x: Tensor) -> Tensor:
        """h·Σ b_i·k_i, what the step from t0 to t1 adds to x, by as many evaluations as it costs.

        Args:
            f: the field.
            t0: where the step begins, of shape (batch, 1, …, 1).
            t1: where it ends, before or after that.
            x: the state at t0.
        """
        h = t1 - t0
        step, (*stages, last) = h.to(x.dtype), self.pair.stages

        def moved(weights: Sequence[float], slopes: list[Parts]) -> Tensor:
            return x + step * _combined(weights, slopes)[0] if weights else x

        slopes, _ = evaluate_stages(
            stages, lambda t, y: (f(time_of(t, x), y),), lambda c: t1 if c == 1 else t0 + c * h, moved, []
        )
        return step * _combined(last.weights, slopes)[0]

    def middle(self, h: Tensor, x: Tensor, slopes: list[Parts]) -> Tensor | None:
        """x(t0 + h/2) to order 4, from the slopes of a step; None where the pair has no weights for it."""
        return x + h.to(x.dtype) * joined(_combined(self.pair.middle_weights, slopes)) if self.pair.middle else None

    def log_ratio(self, h: Tensor, x: Parts, x1: Parts, slopes: list[Parts], tolerance: Tolerance) -> Tensor:
        """The logarithm of ‖error/tolerance‖ of each sample; infinite or NaN where the trial is not finite."""
        ratios, largest = [], torch.finfo(x[0].dtype).max ** 0.45
        for error, a, b, slope in zip(_combined(self.pair.error_weights, slopes), x, x1, slopes[-1], strict=True):
            error = h.to(a.dtype) * error
            ratio = error / tolerance.of(torch.maximum(a.abs(), b.abs()))
            # A square that overflows, for the tolerance is next to nothing, is no fault of the trial.
            ratio = ratio.clamp(-largest, largest)
            finite = torch.isfinite(b) & torch.isfinite(slope) & torch.isfinite(error)
            ratios.append(torch.where(finite, ratio, torch.inf))
        return 0.5 * mean_square(tuple(ratios)).log()


def _combined(weights: Sequence[float], slopes: Sequence[Parts]) -> Parts:
    """Σ w_i·k_i over the w_i ≠ 0."""
    (weight, slope), *others = (pair for pair in zip(weights, slopes, strict=False) if pair[0] != 0)
    total = tuple(weight * part for part in slope)
    for weight, slope in others:
        total = tuple(add(sum_, part, alpha=weight) for sum_, part in zip(total, slope, strict=True))
    return total


def _where(condition: Tensor, yes: Parts, no: Parts) -> Parts:
    return tuple(torch.where(condition, a, b) for a, b in zip(yes, no, strict=True))


def _clipped(h: Tensor, remaining: Tensor, running: Tensor) -> Tensor:
    """The h of an attempt: up to the end exactly where it is near, and 0 where a sample does not run."""
    remaining = remaining.to(h.dtype)
    return torch.where(running, torch.where(1.01 * h >= remaining, remaining, h), 0.0)
