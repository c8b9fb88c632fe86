r"""Error control: how long a step may be, for every sample of a batch by itself.

The error of a step is measured in the unit of the tolerances,

    ratio = ‖error/(atol + rtol·max(|x₀|, |x₁|))‖,   ‖v‖ = root mean square over the entries of one sample,

and a step is accepted where ratio ≤ 1. The next one is h·s·ratio^(-α)·former^β, former being the ratio of the step
accepted before: Gustafsson's PI control with the constants of Hairer and Wanner's code (Hairer, Nørsett and Wanner,
*Solving Ordinary Differential Equations I*, section II.4; Hairer and Wanner, *II*, section IV.2). It is computed in
logarithms.

Everything here is a tensor program without control flow that depends on data. What belongs to a sample (t, h, ratio)
has the shape (batch, 1, …, 1) beside states of shape (batch, …).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from odenet.blocks.compile.columns import Parts
from odenet.blocks.solvers.runge_kutta import VectorField

SAFETY = 0.9
"""s: a step that aims at a ratio below 1 is seldom rejected."""
SMALLEST_GROWTH, LARGEST_GROWTH = 0.2, 10.0
NOT_FINITE_GROWTH = 0.1
"""After a trial that is not finite, whose error says nothing."""
BETA = 0.04
LONGEST_ROW = 4096
"""Entries that are summed at once; torch divides a sum among threads from 32768 on."""


class Tolerance(NamedTuple):
    """The error allowed in a step, atol + rtol·|x|."""

    rtol: float | Tensor
    atol: float | Tensor

    def of(self, x: Tensor) -> Tensor:
        """The error allowed in each entry of x, never 0."""
        return (self.atol + self.rtol * x.abs()).clamp_min(torch.finfo(x.dtype).tiny)


def time_of(t: Tensor, x: Tensor) -> Any:
    """T as a field takes it, in the dtype of the state."""
    return t.to(x.dtype)


def mean_square(parts: Parts) -> Tensor:
    """‖x‖² of every sample of a state, of shape (batch, 1, …, 1).

    The sum over a sample's entries is the same bit for bit in any batch: always over rows in one layout of memory, and
    no row so long that torch would divide it among threads if there were few.
    """
    x, *others = parts
    if others:
        return sum((each.square() for each in others), start=x.square()) / len(parts)
    if x.dim() == 1:
        return x.square()
    rows = x.square().flatten(1).contiguous()
    entries = rows.shape[1]
    if entries > LONGEST_ROW:
        rows = pad(rows, (0, -entries % LONGEST_ROW)).unflatten(1, (-1, LONGEST_ROW)).sum(2)
    return (rows.sum(1) / entries).view(-1, *[1] * (x.dim() - 1))


def log_growth(log_ratio: Tensor, log_previous_error: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """The logarithm of the next step over this one, and the memory that the next one is controlled with.

    Args:
        log_ratio: log of the error ratio of this step; NaN or infinite where the trial was not finite.
        log_previous_error: β·log of the ratio of the step accepted before, 0 at first.
        order: of the step's error, h^order: one more than that of the embedded method.
    """
    accepted = log_ratio <= 0
    alpha = 1 / order - 0.75 * BETA
    growth = torch.where(accepted, log_previous_error - alpha * log_ratio, log_ratio / -order) + math.log(SAFETY)
    growth = growth.clamp(math.log(SMALLEST_GROWTH), math.log(LARGEST_GROWTH))
    growth = torch.where(log_ratio < math.inf, growth, math.log(NOT_FINITE_GROWTH))
    return growth, torch.where(accepted, BETA * log_ratio.clamp_min(math.log(1e-4)), log_previous_error)


def smallest_step(end: Tensor) -> Tensor:
    """The shortest h on an interval that ends there: with less, t + h is hardly to be told from t."""
    return 16 * torch.finfo(end.dtype).eps * end


def initial_step(
    f: VectorField, t: Tensor, x: Tensor, slope: Tensor, tolerance: Tolerance, order: int, end: Tensor
) -> Tensor:
    """The first h, after an Euler step that probes x″ (Hairer, Nørsett and Wanner, *I*, section II.4).

    Args:
        f: the field, evaluated once.
        t: where the step begins, of shape (batch, 1, …, 1).
        x: the state there.
        slope: f(t, x).
        tolerance: of the steps to come.
        order: of their error.
        end: of the interval, beyond which f is not asked.
    """

    def norm(v: Tensor) -> Tensor:
        return mean_square((v / scale,)).to(t.dtype).sqrt()

    scale = tolerance.of(x)
    size, speed = norm(x), norm(slope)
    probe = torch.where((size < 1e-5) | (speed < 1e-5), 1e-6, 0.01 * size / speed)
    change = f(time_of(torch.minimum(t + probe, end), x), x + probe.to(x.dtype) * slope).to(x.dtype) - slope
    bend = torch.maximum(speed, norm(change) / probe)
    h = torch.where(bend <= 1e-15, (1e-3 * probe).clamp_min(1e-6), (0.01 / bend) ** (1 / order))
    h = torch.minimum(100 * probe, h)
    return torch.maximum(torch.where(torch.isfinite(h), h, probe.nan_to_num(1e-6)), smallest_step(end))
