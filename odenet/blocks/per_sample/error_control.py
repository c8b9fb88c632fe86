r"""Error control per sample: whether a step is accepted, and how long the next one is, for every sample of a batch.

The error of a step is measured in units of the tolerances,

    ratio = ‖error/(atol + rtol·max(|x₀|, |x₁|))‖,   ‖v‖ = root mean square over the entries of one sample,

and a step is accepted if ratio ≤ 1. The next step is h·s·ratio^(-α)·previous^β, where `previous` is the ratio of the
last accepted step: Gustafsson's PI controller with the constants of Hairer and Wanner's code (Hairer, Nørsett and
Wanner, *Solving Ordinary Differential Equations I*, section II.4; Hairer and Wanner, *II*, section IV.2). It is
computed in logarithms.

All functions are tensor programs without control flow that depends on data. For states of shape (batch, …), quantities
of a sample (t, h, ratio) have the shape (batch, 1, …, 1).
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
"""Safety factor s: a step that aims at a ratio below 1 is rarely rejected."""
SMALLEST_GROWTH, LARGEST_GROWTH = 0.2, 10.0
"""Bounds of the ratio of one step to the step before."""
NOT_FINITE_GROWTH = 0.1
"""Ratio of the next step to this one after a trial with a non-finite result, which has no error estimate."""
BETA = 0.04
"""Exponent β of the PI controller."""
LONGEST_ROW = 4096
"""Number of entries summed at once; torch divides sums of 32768 entries or more among threads."""


class Tolerance(NamedTuple):
    """Tolerances of a step: the allowed error is atol + rtol·|x|."""

    rtol: float | Tensor
    atol: float | Tensor

    def of(self, x: Tensor) -> Tensor:
        """Return the error allowed in each entry of x, which is never 0."""
        return (self.atol + self.rtol * x.abs()).clamp_min(torch.finfo(x.dtype).tiny)


def time_of(t: Tensor, x: Tensor) -> Any:
    """Return t in the dtype of the state x, as the vector field expects it."""
    return t.to(x.dtype)


def mean_square(parts: Parts) -> Tensor:
    """Return ‖x‖² of every sample of a state, of shape (batch, 1, …, 1).

    The result for a sample is the same bit for bit in any batch: the sums always run over contiguous rows, which are
    too short for torch to divide a row among threads.
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
    """Return the logarithm of next step/this step, and β·log of the ratio of the last accepted step.

    Args:
        log_ratio: logarithm of the error ratio of this step; NaN or infinite if the trial was not finite.
        log_previous_error: β·log of the ratio of the last accepted step before this one, at first 0.
        order: exponent of the error h^order of a step: one more than the order of the embedded method.
    """
    accepted = log_ratio <= 0
    alpha = 1 / order - 0.75 * BETA
    growth = torch.where(accepted, log_previous_error - alpha * log_ratio, log_ratio / -order) + math.log(SAFETY)
    growth = growth.clamp(math.log(SMALLEST_GROWTH), math.log(LARGEST_GROWTH))
    growth = torch.where(log_ratio < math.inf, growth, math.log(NOT_FINITE_GROWTH))
    return growth, torch.where(accepted, BETA * log_ratio.clamp_min(math.log(1e-4)), log_previous_error)


def smallest_step(end: Tensor) -> Tensor:
    """Return the shortest h on an interval that ends at `end`: below it, t + h is t up to rounding."""
    return 16 * torch.finfo(end.dtype).eps * end


def initial_step(
    f: VectorField, t: Tensor, x: Tensor, slope: Tensor, tolerance: Tolerance, order: int, end: Tensor
) -> Tensor:
    """Return the first h, from an Euler step that estimates x″ (Hairer, Nørsett and Wanner, *I*, section II.4).

    Args:
        f: vector field, which is evaluated once.
        t: start of the step, of shape (batch, 1, …, 1).
        x: state at t.
        slope: slope f(t, x).
        tolerance: tolerances of the solve.
        order: exponent of the error h^order of a step.
        end: end of the interval, beyond which f is not evaluated.
    """

    def norm(v: Tensor) -> Tensor:
        return mean_square((v / scale,)).to(t.dtype).sqrt()

    scale = tolerance.of(x)
    size, speed = norm(x), norm(slope)
    probe = torch.where((size < 1e-5) | (speed < 1e-5), 1e-6, 0.01 * size / speed)
    change = f(time_of(torch.minimum(t + probe, end), x), x + probe.to(x.dtype) * slope).to(x.dtype) - slope
    second_derivative = torch.maximum(speed, norm(change) / probe)
    h = torch.where(
        second_derivative <= 1e-15, (1e-3 * probe).clamp_min(1e-6), (0.01 / second_derivative) ** (1 / order)
    )
    h = torch.minimum(100 * probe, h)
    return torch.maximum(torch.where(torch.isfinite(h), h, probe.nan_to_num(1e-6)), smallest_step(end))
