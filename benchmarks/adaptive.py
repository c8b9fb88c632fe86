"""Benchmark of error control in several packages: seconds at equal error, not at equal tolerance.

    python -m benchmarks.adaptive      # 7 minutes, half of them compiling; record: runs/benchmarks/adaptive-DEVICE.json

Every package solves with dopri5 at several tolerances, in float64. Its error is the error of x(T), or of the gradient
of Σ x(T)² with respect to x(0), relative to a solve with dopri8 at 1e-11. The table shows median seconds, interpolated
between the tolerances (log-log) to the error of odenet at 1e-6, relative to the seconds of odenet.

Goals, for Van der Pol, batch 256, horizon 10: at least 20 times faster than torchdiffeq and torchode and at least half
as fast as diffrax, forward; at least 10 times faster than torchdiffeq with the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import product
from statistics import median
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torchdiffeq import odeint

from benchmarks.command import Row, device, run_benchmark
from benchmarks.peers.diffrax_runs import DiffraxProcess
from benchmarks.peers.dynamics import Problem, problem
from benchmarks.peers.packages import absent, installed, without
from benchmarks.peers.solves import ADAPTIVE, Solve
from benchmarks.side_by_side import milliseconds, side_by_side
from odenet.training import Run

PASSES = ("forward", "gradient")
REFERENCE = {"method": "dopri8", "rtol": 1e-11, "atol": 1e-11}
OURS = "odenet"
COMPARED = 1e-6
"""Tolerance of odenet whose error is the common error of the comparison."""

TINY = 1e-16
"""Lower bound of errors, since 0 has no logarithm."""

GOALS = {
    ("Van der Pol", 256, "forward"): "torchdiffeq, torchode ≥ 20, diffrax ≥ 0.5",
    ("Van der Pol", 256, "gradient"): "torchdiffeq ≥ 10",
}


@dataclass(frozen=True)
class Adaptivity:
    """Settings of the benchmark."""

    dynamics: tuple[str, ...] = ("Van der Pol", "MLP")
    """Names in `benchmarks.peers.dynamics`."""
    batches: tuple[int, ...] = (1, 256, 4096)
    """Numbers of samples that are solved at once."""
    closely: tuple[tuple[str, int], ...] = (("Van der Pol", 256),)
    """Dynamics and batch sizes that are measured in detail: with odenet at every tolerance, instead of only at the one
    that sets the common error, and with compiled torchode. Each costs a quarter of a minute of compiling."""
    horizon: float = 10.0
    """End time T; a period of Van der Pol's oscillator with μ = 2 lasts 7.6."""
    tolerances: tuple[float, ...] = (1e-4, 1e-6, 1e-8)
    """Relative and absolute tolerances of the detailed measurements."""
    around: tuple[float, ...] = (1e-6, 1e-7)
    """Tolerances of the other measurements, enough to compare all packages at one error."""
    budget: float = 5.0
    """Seconds for the rounds of one cell of the table, without compilation."""


QUICK = Adaptivity(batches=(4,), closely=(("MLP", 4),), horizon=1.0, tolerances=(1e-4, 1e-6), budget=0.0)


class Answering(Protocol):
    """A callable without arguments that keeps its last result in `answer`."""

    answer: Tensor

    def __call__(self) -> Tensor:
        """Compute and return the answer."""
        ...


class Remembering:
    """A wrapper that keeps the last result of a function in `answer`."""

    def __init__(self, work: Callable[[], Tensor]) -> None:
        self.work = work
        self.answer = torch.empty(0)

    def __call__(self) -> Tensor:
        """Compute and return the answer."""
        self.answer = self.work()
        return self.answer


def run_of(problem: Problem, solve: Solve, wanted: str) -> Callable[[], Tensor]:
    """Return a function that computes x(T) under `no_grad`, or the gradients of Σ x(T)² and returns that in x(0)."""
    if wanted == "forward":
        return torch.no_grad()(partial(solve, problem.x))
    x = problem.x.clone().requires_grad_()

    def gradient() -> Tensor:
        return torch.autograd.grad(solve(x).square().sum(), [x, *problem.parameters])[0]

    return gradient


def reference(problem: Problem) -> Solve:
    """Return a solve whose error is far below all others: dopri8 at tolerance 1e-11."""
    span = problem.x.new_tensor([0.0, problem.horizon])

    def solve(x: Tensor) -> Tensor:
        solution: Any = odeint(problem.field, x, span, **REFERENCE)
        return solution[-1]

    return solve


def cell(settings: Adaptivity, process: DiffraxProcess | None, name: str, batch: int, wanted: str) -> dict[str, Any]:
    """Measure seconds and errors of every package at its tolerances."""
    posed = problem(name, batch, settings.horizon, torch.float64, device())
    exact = run_of(posed, reference(posed), wanted)()
    seconds: dict[str, dict[str, list[float]]] = {}
    errors: dict[str, dict[str, float]] = {}
    runs: dict[tuple[str, float], Answering] = {}
    for tolerance in settings.tolerances if (name, batch) in settings.closely else settings.around:
        for contestant, adapter in contestants(settings, name, batch, tolerance).items():
            runs[contestant, tolerance] = Remembering(run_of(posed, adapter(posed, tolerance), wanted))
        if process is not None:
            runs["diffrax", tolerance] = process.solve(posed, "dopri5", tolerance, gradient=wanted == "gradient")
    taken = side_by_side({f"{name}|{tolerance:g}": run for (name, tolerance), run in runs.items()}, settings.budget)
    for (contestant, tolerance), run in runs.items():
        seconds.setdefault(contestant, {})[f"{tolerance:g}"] = taken[f"{contestant}|{tolerance:g}"]
        errors.setdefault(contestant, {})[f"{tolerance:g}"] = float((run.answer - exact).norm() / exact.norm())
    return {"seconds": seconds, "errors": errors}


def contestants(
    settings: Adaptivity, name: str, batch: int, tolerance: float
) -> dict[str, Callable[[Problem, float], Solve]]:
    """Return the installed contestants of this process, without those that only detailed measurements include."""
    closely = (name, batch) in settings.closely
    left_out = set() if closely else {"torchode, compiled"} | ({OURS} if tolerance != COMPARED else set())
    return installed({name: adapter for name, adapter in ADAPTIVE.items() if name not in left_out})


def seconds_at_error(error: float, errors: Mapping[str, float], seconds: Mapping[str, list[float]]) -> float:
    """Interpolate (log-log) the seconds in which a package reaches `error`; outside of its errors, take the nearest.

    >>> f"{seconds_at_error(1e-6, {'a': 1e-5, 'b': 1e-7}, {'a': [0.1], 'b': [0.4]}):.3f}"
    '0.200'
    """
    points = sorted((math.log(max(errors[key], TINY)), math.log(median(seconds[key]))) for key in errors)
    logs_of_errors, logs_of_seconds = zip(*points, strict=True)
    return math.exp(float(np.interp(math.log(max(error, TINY)), logs_of_errors, logs_of_seconds)))


def row(name: str, batch: int, wanted: str, result: Mapping[str, Any]) -> Row:
    """Return the table row: seconds of all packages relative to odenet's, at the error of odenet."""
    errors, seconds = result["errors"], result["seconds"]
    key = f"{COMPARED:g}"
    ours, error = median(seconds[OURS][key]), errors[OURS][key]
    shares = {who: seconds_at_error(error, errors[who], seconds[who]) / ours for who in errors if who != OURS}
    return {
        "quantity": f"{name}, batch {batch:,}, {wanted}: seconds at equal error over odenet's",
        "goal": GOALS.get((name, batch, wanted), "–"),
        "measured": ", ".join(f"{who.replace(',', '')} {share:.3g}" for who, share in shares.items()),
        "beside it": f"odenet {milliseconds(seconds[OURS][key])}, error {error:.0e} at {key}{without(all_names())}",
    }


def curves(result: Mapping[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """Return error and median seconds of every package at every tolerance, for a figure."""
    errors, seconds = result["errors"], result["seconds"]
    return {who: [(errors[who][key], median(seconds[who][key])) for key in errors[who]] for who in errors}


def all_names() -> list[str]:
    """Return the names of all contestants, installed or not."""
    return [*ADAPTIVE, "diffrax"]


def measure(settings: Adaptivity, run: Run) -> list[Row]:
    """Measure every dynamics, batch size and pass, and return the table."""
    rows = []
    with nullcontext() if absent(["diffrax"]) else DiffraxProcess() as process:
        for name, batch, wanted in product(settings.dynamics, settings.batches, PASSES):
            compute = partial(cell, settings, process, name, batch, wanted)
            rows.append(row(name, batch, wanted, run.once(f"{name}, {batch}, {wanted}", compute)))
    return rows


def main() -> None:
    """Measure the cells that the record lacks, and print the table."""
    run_benchmark("adaptive", QUICK, Adaptivity(), measure)


if __name__ == "__main__":
    main()
