"""Steps of an embedded pair for all samples of a batch at once, each sample with its own t, h and acceptance.

The functions are tensor programs without control flow that depends on data, so each compiles as one graph. The field is
called with t of shape (batch, 1, …, 1), in the dtype of x.
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

# Plain integers, because torch.compile treats a tensor and a member of an enumeration as unequal.
RUNNING, FINISHED, BUDGET_SPENT, STEP_UNDERFLOW, NOT_FINITE = map(int, Status)


class Samples(NamedTuple):
    """A batch during a solve; every field but x and slope has one entry per sample, of shape (batch, 1, …, 1)."""

    t: Tensor
    h: Tensor
    """Length of the next attempted step, 0 for a sample that has stopped."""
    x: Parts
    slope: Parts
    log_previous_error: Tensor
    """State of the error control, as in `log_growth`."""
    status: Tensor
    accepted: Tensor
    rejected: Tensor
    finite: Tensor
    """Whether the results of all attempts were finite."""


class Bounds(NamedTuple):
    """Bounds of the steps on one piece of θ."""

    end: Tensor
    """End of the piece."""
    limit: Tensor
    """Largest number of attempts of each sample."""
    tolerance: Tolerance


class Attempt(NamedTuple):
    """Result of an attempted step for all samples: its end t1 and its length h, which is 0 if it was rejected."""

    t1: Tensor
    h: Tensor


class EmbeddedSteps:
    """Steps of an embedded pair with error control per sample.

    A step costs one evaluation less than the pair has stages, because its first slope is the last one of the step
    before.

    Args:
        pair: tableau of the embedded pair.
        by_columns: whether to split states of shape (batch, d) into columns.
        projection: projection applied to x₁.
    """

    def __init__(
        self, pair: ButcherTableau, *, by_columns: bool = False, projection: ConvexProjection | None = None
    ) -> None:
        self.pair, self.by_columns, self.projection = pair, by_columns, projection
        self.cost = len(pair.stages) - 1
        self.order = pair.embedded_order + 1

    def begin(self, f: VectorField, t: Tensor, x: Tensor, slope: Tensor, status: Tensor, bounds: Bounds) -> Samples:
        """Return the samples at the start of a piece, with the h of their first attempt; f is evaluated once.

        Args:
            f: vector field.
            t: depth-time of each sample, of shape (batch, 1, …, 1).
            x: state at t.
            slope: slope f(t, x).
            status: status of each sample, of shape (batch, 1, …, 1); the running ones take steps on the piece.
            bounds: bounds of the steps on the piece.
        """
        with torch.no_grad():
            h = initial_step(f, t, x, slope, bounds.tolerance, self.order, bounds.end)
        h = _clipped(h.to(torch.promote_types(x.dtype, torch.float32)), bounds.end - t, status == RUNNING)
        # Two tensors, because torch.compile would specialize on arguments that are the same tensor.
        accepted, rejected = torch.zeros_like(status), torch.zeros_like(status)
        x_parts, slope_parts = (tuple(part.contiguous() for part in self.parts(each)) for each in (x, slope))
        finite = torch.ones_like(status, dtype=torch.bool)
        return Samples(t, h, x_parts, slope_parts, 0 * h, status, accepted, rejected, finite)

    def attempt(self, f: VectorField, samples: Samples, bounds: Bounds) -> tuple[Samples, Attempt]:
        """Try one step of every sample, and take it for the samples whose error is small enough.

        Args:
            f: vector field.
            samples: samples before the attempt.
            bounds: bounds of the steps on the piece.
        """
        end, last = bounds.end, samples.h == (bounds.end - samples.t).to(samples.h.dtype)
        t1 = torch.where(last, end, samples.t + samples.h)
        x1, slopes = self.slopes(f, samples.t, t1, samples.h, samples.x, samples.slope)
        with torch.no_grad():  # the gradient is that of the steps on a given grid, not of their choice
            log_ratio = self.log_ratio(samples.h, samples.x, x1, slopes, bounds.tolerance).to(samples.h.dtype)
            good = (samples.status == RUNNING) & (log_ratio <= 0)
            t = torch.where(good, t1, samples.t)
            controlled = self._controlled(samples, t, log_ratio, good, good & last, bounds)
        states = {"x": _where(good, self.projected(x1), samples.x), "slope": _where(good, slopes[-1], samples.slope)}
        after = Samples(**{**controlled._asdict(), **states})  # torch.compile 2.11 loses fields after `_replace`
        return after, Attempt(t1, samples.h * good)

    def steps_left(self, samples: Samples, end: Tensor) -> Tensor:
        """Return the largest number of steps, of the length of its next one, that any running sample has left."""
        running = samples.status == RUNNING
        steps = (end - samples.t).to(samples.h.dtype) / torch.where(running, samples.h, 1.0)
        return torch.where(running, steps, 0.0).max()

    def _controlled(
        self, samples: Samples, t: Tensor, log_ratio: Tensor, good: Tensor, finished: Tensor, bounds: Bounds
    ) -> Samples:
        """Return the samples at t after an attempt, with their states not yet updated."""
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
        """Return x and its slope after a step of known length h; samples with h = 0 keep theirs, bit for bit."""
        parts, slope_parts = self.parts(x), self.parts(slope)
        x1, slopes = self.slopes(f, t0, t1, h, parts, slope_parts)
        return joined(_where(h > 0, self.projected(x1), parts)), joined(_where(h > 0, slopes[-1], slope_parts))

    def projected(self, x: Parts) -> Parts:
        """P(x); x itself without a projection."""
        return x if self.projection is None else self.parts(self.projection(joined(x)))

    def parts(self, x: Tensor) -> Parts:
        """Return a state as a tuple: its columns if `by_columns`, or else the state itself."""
        return columns(x) if self.by_columns else (x,)

    def slopes(
        self, f: VectorField, t0: Tensor, t1: Tensor, h: Tensor, x: Parts, slope: Parts
    ) -> tuple[Parts, list[Parts]]:
        """Return x₁, and the slopes of all stages; the last slope is the one at x₁.

        Args:
            f: vector field.
            t0: start of the step.
            t1: end of the step, t0 + h up to rounding.
            h: length of the step.
            x: state at t0.
            slope: slope f(t0, x).
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
        """Return the increment h·Σ b_i·k_i that the step from t0 to t1 adds to x, after `cost` evaluations of f.

        Args:
            f: vector field.
            t0: start of the step, of shape (batch, 1, …, 1).
            t1: end of the step, before or after t0.
            x: state at t0.
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
        """Return x(t0 + h/2) to order 4 from the slopes of a step, or None if the pair has no weights for it."""
        return x + h.to(x.dtype) * joined(_combined(self.pair.middle_weights, slopes)) if self.pair.middle else None

    def log_ratio(self, h: Tensor, x: Parts, x1: Parts, slopes: list[Parts], tolerance: Tolerance) -> Tensor:
        """Return log ‖error/tolerance‖ of each sample; it is infinite or NaN if the trial is not finite."""
        ratios, largest = [], torch.finfo(x[0].dtype).max ** 0.45
        for error, a, b, slope in zip(_combined(self.pair.error_weights, slopes), x, x1, slopes[-1], strict=True):
            error = h.to(a.dtype) * error
            ratio = error / tolerance.of(torch.maximum(a.abs(), b.abs()))
            # A tiny tolerance makes the square overflow although the trial is finite; such a step is only rejected.
            ratio = ratio.clamp(-largest, largest)
            finite = torch.isfinite(b) & torch.isfinite(slope) & torch.isfinite(error)
            ratios.append(torch.where(finite, ratio, torch.inf))
        return 0.5 * mean_square(tuple(ratios)).log()


def _combined(weights: Sequence[float], slopes: Sequence[Parts]) -> Parts:
    """Return Σ w_i·k_i over w_i ≠ 0."""
    (weight, slope), *others = (pair for pair in zip(weights, slopes, strict=False) if pair[0] != 0)
    total = tuple(weight * part for part in slope)
    for weight, slope in others:
        total = tuple(add(sum_, part, alpha=weight) for sum_, part in zip(total, slope, strict=True))
    return total


def _where(condition: Tensor, yes: Parts, no: Parts) -> Parts:
    return tuple(torch.where(condition, a, b) for a, b in zip(yes, no, strict=True))


def _clipped(h: Tensor, remaining: Tensor, running: Tensor) -> Tensor:
    """Return h, set to the remaining length if the end is near, and to 0 for samples that have stopped."""
    remaining = remaining.to(h.dtype)
    return torch.where(running, torch.where(1.01 * h >= remaining, remaining, h), 0.0)
