"""One step of an embedded pair for all samples of a batch at once, each with a t, an h and an acceptance of its own.

Tensor programs: nothing in them depends on data but the numbers, so they compile as one graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, add

from odenet.blocks.embedded import EmbeddedPair
from odenet.blocks.error_control import Tolerance, initial_step, log_growth, mean_square
from odenet.blocks.solve_status import Status
from odenet.blocks.solvers import VectorField


class Samples(NamedTuple):
    """A batch in the middle of a solve: x and its slope of shape (batch, …), all else of shape (batch, 1, …, 1)."""

    t: Tensor
    h: Tensor
    """Of the next attempt."""
    x: Tensor
    slope: Tensor
    memory: Tensor
    """Of the error control."""
    status: Tensor
    accepted: Tensor
    rejected: Tensor


class EmbeddedSteps:
    """Steps of `pair`, controlled to `tolerance`.

    A step costs one evaluation less than the pair has stages.
    """

    def __init__(self, pair: EmbeddedPair, tolerance: Tolerance) -> None:
        self.pair, self.tolerance = pair, tolerance
        self.cost = pair.stages - 1
        self.order = pair.embedded_order + 1

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
        k, step = [slope], h.to(x.dtype)
        for c, row in zip(self.pair.c[1:], self.pair.rows, strict=True):
            t = t1 if c == 1 else t0 + c * h
            x1 = x + step * _combined(row, k)
            k.append(f(t.to(x.dtype), x1).to(x.dtype))
        return x1, k

    def log_ratio(self, h: Tensor, x: Tensor, x1: Tensor, k: list[Tensor]) -> Tensor:
        """The logarithm of ‖error/tolerance‖; infinite or NaN where the trial is not finite."""
        error = h.to(x.dtype) * _combined(self.pair.error_weights, k)
        scaled = error / self.tolerance.of(torch.maximum(x.abs(), x1.abs()))
        finite = torch.isfinite(x1) & torch.isfinite(k[-1])
        return mean_square(torch.where(finite, scaled, torch.inf)).to(h.dtype).log() / 2

    def begin(self, f: VectorField, t: Tensor, x: Tensor, slope: Tensor, status: Tensor, end: Tensor) -> Samples:
        """The samples at the start of a piece, with the h of their first attempt."""
        h = initial_step(f, t, x, slope, self.tolerance, self.order, _smallest_step(end))
        return Samples(t, h, x, slope, torch.zeros_like(h), status, torch.zeros_like(status), torch.zeros_like(status))

    def attempt(self, f: VectorField, samples: Samples, end: Tensor, limit: Tensor) -> Samples:
        """One step tried, and taken where the error allows it.

        Args:
            f: the field.
            samples: before it.
            end: of the piece.
            limit: the attempts that each sample may make.
        """
        t, h, x, slope, memory, status, accepted, rejected = samples
        running = status == Status.RUNNING
        remaining = end - t
        last = 1.01 * h >= remaining  # a step a little longer, rather than one more that is tiny
        h = torch.where(running, torch.where(last, remaining, h), 0.0)
        t1 = torch.where(last, end, t + h)
        x1, k = self.slopes(f, t, t1, h, x, slope)
        log_ratio = self.log_ratio(h, x, x1, k)
        growth, memory = log_growth(log_ratio, memory, self.order)
        good = running & (log_ratio <= 0)
        bad = running & ~good
        accepted, rejected = accepted + good, rejected + bad
        status = torch.where(running & (accepted + rejected >= limit), Status.BUDGET_SPENT, status)
        next_h = h * growth.exp()
        too_small = torch.where(log_ratio < torch.inf, Status.STEP_UNDERFLOW, Status.NOT_FINITE)
        status = torch.where(running & (next_h < _smallest_step(end)), too_small, status)
        status = torch.where(good & last, Status.FINISHED, status).to(accepted.dtype)
        return Samples(
            torch.where(good, t1, t),
            next_h,
            torch.where(good, x1, x),
            torch.where(good, k[-1], slope),
            memory,
            status,
            accepted,
            rejected,
        )


def _combined(weights: Sequence[float], k: list[Tensor]) -> Tensor:
    """Σ w_i·k_i over the w_i ≠ 0."""
    terms = [(weight, slope) for weight, slope in zip(weights, k, strict=False) if weight != 0]
    (weight, slope), *rest = terms
    total = weight * slope
    for weight, slope in rest:
        total = add(total, slope, alpha=weight)
    return total


def _smallest_step(end: Tensor) -> Tensor:
    """Below it, t + h is not to be told from t."""
    return 16 * torch.finfo(end.dtype).eps * end
