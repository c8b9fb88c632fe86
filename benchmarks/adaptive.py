"""Error control, package by package: seconds at equal error, not at equal tolerance.

    python -m benchmarks.adaptive      # 7 minutes, half of them compiling; record: runs/benchmarks/adaptive-DEVICE.json

Every package solves by dopri5 at several tolerances, in float64. Its error is that of x(T), or of the gradient of
Σ x(T)² in x(0), relative to a solve by dopri8 at 1e-11. Its seconds in the table are medians, interpolated between the
tolerances (log-log) to the error that odenet has at 1e-6, over the seconds of odenet.

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
"""The tolerance of ours at whose error all are compared."""

TINY = 1e-16
"""An error of nothing has no logarithm."""

GOALS = {
    ("Van der Pol", 256, "forward"): "torchdiffeq, torchode ≥ 20, diffrax ≥ 0.5",
    ("Van der Pol", 256, "gradient"): "torchdiffeq ≥ 10",
}


@dataclass(frozen=True)
class Adaptivity:
    """Settings of the benchmark."""

    dynamics: tuple[str, ...] = ("Van der Pol", "MLP")
    """Of `benchmarks.peers.dynamics`."""
    batches: tuple[int, ...] = (1, 256, 4096)
    """Samples that are solved at once."""
    closely: tuple[tuple[str, int], ...] = (("Van der Pol", 256),)
    """Dynamics and batches that are looked at closely: odenet at every tolerance, elsewhere at the one at whose error
    all are compared, and torchode compiled too. Each of these costs a quarter of a minute of compiling."""
    horizon: float = 10.0
    """T; a period of Van der Pol's oscillator with μ = 2 lasts 7.6."""
    tolerances: tuple[float, ...] = (1e-4, 1e-6, 1e-8)
    """Relative and absolute, for a close look."""
    around: tuple[float, ...] = (1e-6, 1e-7)
    """Elsewhere: enough to have everybody at one error."""
    budget: float = 5.0
    """Seconds of the rounds of one cell of the table, compilation aside."""


QUICK = Adaptivity(batches=(4,), closely=(("MLP", 4),), horizon=1.0, tolerances=(1e-4, 1e-6), budget=0.0)


class Answering(Protocol):
    """A run without arguments that has, once it has run, its answer."""

    answer: Tensor

    def __call__(self) -> Tensor:
        """The answer."""
        ...


class Remembering:
    """Work that remembers its answer."""

    def __init__(self, work: Callable[[], Tensor]) -> None:
        self.work = work
        self.answer = torch.empty(0)

    def __call__(self) -> Tensor:
        """The answer."""
        self.answer = self.work()
        return self.answer


def run_of(problem: Problem, solve: Solve, wanted: str) -> Callable[[], Tensor]:
    """Without arguments: x(T) under no tape, or the gradient of Σ x(T)² in x(0), those in the parameters beside it."""
    if wanted == "forward":
        return torch.no_grad()(partial(solve, problem.x))
    x = problem.x.clone().requires_grad_()

    def gradient() -> Tensor:
        return torch.autograd.grad(solve(x).square().sum(), [x, *problem.parameters])[0]

    return gradient


def reference(problem: Problem) -> Solve:
    """A solve whose error is far below all others."""
    span = problem.x.new_tensor([0.0, problem.horizon])

    def solve(x: Tensor) -> Tensor:
        solution: Any = odeint(problem.field, x, span, **REFERENCE)
        return solution[-1]

    return solve


def cell(settings: Adaptivity, process: DiffraxProcess | None, name: str, batch: int, wanted: str) -> dict[str, Any]:
    """Seconds and errors of every package at its tolerances."""
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
    taken = side_by_side({f"{who}|{tolerance:g}": run for (who, tolerance), run in runs.items()}, settings.budget)
    for (who, tolerance), run in runs.items():
        seconds.setdefault(who, {})[f"{tolerance:g}"] = taken[f"{who}|{tolerance:g}"]
        errors.setdefault(who, {})[f"{tolerance:g}"] = float((run.answer - exact).norm() / exact.norm())
    return {"seconds": seconds, "errors": errors}


def contestants(
    settings: Adaptivity, name: str, batch: int, tolerance: float
) -> dict[str, Callable[[Problem, float], Solve]]:
    """Those in this process that are installed, but for what would only be compiled for a close look."""
    closely = (name, batch) in settings.closely
    spared = set() if closely else {"torchode, compiled"} | ({OURS} if tolerance != COMPARED else set())
    return installed({who: made for who, made in ADAPTIVE.items() if who not in spared})


def at_error(error: float, errors: Mapping[str, float], seconds: Mapping[str, list[float]]) -> float:
    """Seconds at which a package has this error: log-log between its tolerances, and never beyond them.

    >>> f"{at_error(1e-6, {'a': 1e-5, 'b': 1e-7}, {'a': [0.1], 'b': [0.4]}):.3f}"
    '0.200'
    """
    points = sorted((math.log(max(errors[key], TINY)), math.log(median(seconds[key]))) for key in errors)
    logs_of_errors, logs_of_seconds = zip(*points, strict=True)
    return math.exp(float(np.interp(math.log(max(error, TINY)), logs_of_errors, logs_of_seconds)))


def row(name: str, batch: int, wanted: str, result: Mapping[str, Any]) -> Row:
    """The seconds of all over ours at our error."""
    errors, seconds = result["errors"], result["seconds"]
    key = f"{COMPARED:g}"
    ours, error = median(seconds[OURS][key]), errors[OURS][key]
    shares = {who: at_error(error, errors[who], seconds[who]) / ours for who in errors if who != OURS}
    return {
        "quantity": f"{name}, batch {batch:,}, {wanted}: seconds at equal error over odenet's",
        "goal": GOALS.get((name, batch, wanted), "–"),
        "measured": ", ".join(f"{who.replace(',', '')} {share:.3g}" for who, share in shares.items()),
        "beside it": f"odenet {milliseconds(seconds[OURS][key])}, error {error:.0e} at {key}{without(all_names())}",
    }


def curves(result: Mapping[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """Error and median seconds of every package at every tolerance, for a figure."""
    errors, seconds = result["errors"], result["seconds"]
    return {who: [(errors[who][key], median(seconds[who][key])) for key in errors[who]] for who in errors}


def all_names() -> list[str]:
    """The contestants, whether their package is here or not."""
    return [*ADAPTIVE, "diffrax"]


def measure(settings: Adaptivity, run: Run) -> list[Row]:
    """Every dynamics, batch and pass."""
    rows = []
    with nullcontext() if absent(["diffrax"]) else DiffraxProcess() as process:
        for name, batch, wanted in product(settings.dynamics, settings.batches, PASSES):
            compute = partial(cell, settings, process, name, batch, wanted)
            rows.append(row(name, batch, wanted, run.once(f"{name}, {batch}, {wanted}", compute)))
    return rows


def main() -> None:
    """Measure every cell, once, and print the table."""
    run_benchmark("adaptive", QUICK, Adaptivity(), measure)


if __name__ == "__main__":
    main()
