r"""Error control: how large a step may be, for every sample of a batch by itself.

The error of a step is measured in the tolerances' own unit,

    ratio = ‖error/(atol + rtol·max(|x₀|, |x₁|))‖,   ‖v‖ = root mean square over the entries of one sample,

and a step is accepted where ratio ≤ 1. The next one is h·s·ratio^(-α)·former^β, former being the ratio of the last
step that was accepted: Gustafsson's PI control with the constants of Hairer and Wanner's code (Hairer, Nørsett and
Wanner, *Solving Ordinary Differential Equations I*, section II.4; Hairer and Wanner, *II*, section IV.2). It is
computed in logarithms: one of ratio, one exponential.

Everything here is a tensor program without control flow that depends on data: t, h and ratios are tensors of shape
(batch, 1, …, 1) beside states of shape (batch, …).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from odenet.blocks.solvers import VectorField

SAFETY = 0.9
"""s: a step that is aimed at ratio = s^k rather than at 1, is rarely rejected."""
SMALLEST_GROWTH, LARGEST_GROWTH = 0.2, 10.0
NOT_FINITE_GROWTH = 0.1
"""After a trial that is not finite, whose error says nothing."""
BETA = 0.04


class Tolerance(NamedTuple):
    """The error allowed in a step, atol + rtol·|x|."""

    rtol: float
    atol: float

    def of(self, x: Tensor) -> Tensor:
        """The error allowed in each entry of x, never 0."""
        return (self.atol + self.rtol * x.abs()).clamp_min(torch.finfo(x.dtype).tiny)


def mean_square(x: Tensor) -> Tensor:
    """‖x‖² of every sample, of shape (batch, 1, …, 1)."""
    entries = tuple(range(1, x.dim()))
    return x.square().mean(entries, keepdim=True) if entries else x.square()


def log_growth(log_ratio: Tensor, memory: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """The logarithm of the next step over this one, and the memory that the next one is controlled with.

    Args:
        log_ratio: log of the error ratio of this step; NaN or infinite where the trial was not finite.
        memory: β·log of the ratio of the step accepted before, 0 at first.
        order: of the step's error, h^order: one more than that of the embedded method.
    """
    accepted = log_ratio <= 0
    alpha = 1 / order - 0.75 * BETA
    growth = torch.where(accepted, memory - alpha * log_ratio, -log_ratio / order) + math.log(SAFETY)
    growth = growth.clamp(math.log(SMALLEST_GROWTH), math.log(LARGEST_GROWTH))
    growth = torch.where(log_ratio < math.inf, growth, math.log(NOT_FINITE_GROWTH))
    return growth, torch.where(accepted, BETA * log_ratio.clamp_min(math.log(1e-4)), memory)


def initial_step(
    f: VectorField, t: Tensor, x: Tensor, slope: Tensor, tolerance: Tolerance, order: int, smallest: Tensor
) -> Tensor:
    """The first h, after an Euler step that probes x″ (Hairer, Nørsett and Wanner, *I*, section II.4).

    Args:
        f: the field, evaluated once.
        t: where the step begins.
        x: the state there.
        slope: f(t, x).
        tolerance: of the steps to come.
        order: of their error.
        smallest: h is not smaller, whatever the slopes are.
    """
    scale = tolerance.of(x)
    size, speed = (mean_square(v / scale).to(t.dtype).sqrt() for v in (x, slope))
    probe = torch.where((size < 1e-5) | (speed < 1e-5), 1e-6, 0.01 * size / speed)
    change = f((t + probe).to(x.dtype), x + probe.to(x.dtype) * slope).to(x.dtype) - slope
    bend = torch.maximum(speed, mean_square(change / scale).to(t.dtype).sqrt() / probe)
    h = torch.where(bend <= 1e-15, (1e-3 * probe).clamp_min(1e-6), (0.01 / bend) ** (1 / order))
    h = torch.minimum(100 * probe, h)
    return torch.maximum(torch.where(torch.isfinite(h), h, probe.nan_to_num(1e-6)), smallest)
