"""Benchmark of fixed Euler steps in several packages: three residual stages, Van der Pol's oscillator, and an MLP.

    python -m benchmarks.fixed_steps    # 4 minutes on one core; the record is runs/benchmarks/fixed_steps-DEVICE.json

The stages are those of a ResNet, with a branch for each step: a forward pass in evaluation mode under `no_grad`, and a
training step (forward, backward) in training mode. torchdiffeq and torchdyn have no branch per step, so it is looked up
by its time. All is in float32. Compilation happens before the clock starts; the record contains its time, and for the
small systems the distance of x(T) from a solve with dopri8 at 1e-11, which is the same for all with the same steps.

Goals: stages at most 1.02 times the hand-written loop, and at least 1.5 times faster than torchdiffeq at (8, 16, 14,
14); 200 steps of the MLP, training step, at least 1.8 times faster than torchdiffeq.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torchdiffeq import odeint

from benchmarks.adaptive import reference, run_of
from benchmarks.command import Row, device, run_benchmark
from benchmarks.peers.diffrax_runs import DiffraxProcess
from benchmarks.peers.dynamics import Problem, problem
from benchmarks.peers.packages import absent, installed, without
from benchmarks.peers.solves import EULER, Solve
from benchmarks.side_by_side import milliseconds, side_by_side
from odenet import BasicBranch, ODEBlock, PiecewiseConstant
from odenet.measure import ratio
from odenet.training import Run

OURS = ("odenet", "odenet, compiled")


@dataclass(frozen=True)
class Stage:
    """Size of a residual stage: a state of shape (batch, channels, side, side) and `blocks` residual blocks."""

    batch: int
    channels: int
    side: int
    blocks: int

    def __str__(self) -> str:
        return f"({self.batch}, {self.channels}, {self.side}, {self.side}), {self.blocks} blocks"


@dataclass(frozen=True)
class FixedStepTiming:
    """Settings of the benchmark."""

    stages: tuple[Stage, ...] = (Stage(8, 16, 14, 16), Stage(32, 64, 6, 6), Stage(16, 32, 28, 8))
    """Residual stages, from one dominated by overhead to one dominated by arithmetic."""
    dynamics: tuple[str, ...] = ("Van der Pol", "MLP")
    """Names in `benchmarks.peers.dynamics`, solved on [0, 1]."""
    batches: tuple[int, ...] = (1, 256, 4096)
    """Numbers of samples of the dynamics that are solved at once."""
    steps: int = 200
    """Number of Euler steps for the dynamics."""
    budget: float = 10.0
    """Seconds for the rounds of one row, without compilation."""


QUICK = FixedStepTiming(stages=(Stage(2, 4, 4, 2),), batches=(4,), steps=5, budget=0.0)
GOALS = {("MLP", 256, "training step"): "torchdiffeq over odenet ≥ 1.8"}


def stage_solves(branches: list[BasicBranch]) -> dict[str, Callable[[], Solve]]:
    """Return the contestants by name, each as a function that makes a solve with the same branches."""
    grid = torch.arange(len(branches) + 1.0)

    def branch_at(t: Tensor, x: Tensor) -> Tensor:
        return branches[int(t)](t, x)

    def by_hand() -> Solve:
        def solve(x: Tensor) -> Tensor:
            for branch in branches:
                x = x + branch(0.0, x)
            return x

        return solve

    def odenet() -> ODEBlock:
        return ODEBlock(PiecewiseConstant(branches))

    def odenet_compiled() -> ODEBlock:
        block = odenet()
        block.compiled = True
        return block

    def torchdiffeq() -> Solve:
        def solve(x: Tensor) -> Tensor:
            solution: Any = odeint(branch_at, x, grid, method="euler")
            return solution[-1]

        return solve

    def torchdyn() -> Solve:
        numerics: Any = import_module("torchdyn.numerics")
        return lambda x: numerics.odeint(branch_at, x, grid, solver="euler", save_at=grid[-1:])[1][-1]

    return {
        "loop": by_hand,
        "odenet": odenet,
        "odenet, compiled": odenet_compiled,
        "torchdiffeq": torchdiffeq,
        "torchdyn": torchdyn,
    }


def time_stage(stage: Stage, wanted: str, budget: float) -> dict[str, Any]:
    """Measure a forward pass or a training step of a residual stage with every package."""
    torch.manual_seed(0)
    branches = [BasicBranch(stage.channels).to(device()) for _ in range(stage.blocks)]
    for branch in branches:
        branch.train(wanted == "training step")
    x = torch.randn(stage.batch, stage.channels, stage.side, stage.side).to(device())
    solves = with_cuda_graphs({who: make() for who, make in installed(stage_solves(branches)).items()})
    return timed({who: work_of(solve, x, wanted) for who, solve in solves.items()}, budget)


def time_dynamics(
    settings: FixedStepTiming, process: DiffraxProcess | None, name: str, batch: int, wanted: str
) -> dict[str, Any]:
    """Measure a forward pass or a training step of a small system with every package, and the errors of x(T)."""
    posed = problem(name, batch, 1.0, torch.float32, device())
    solves = with_cuda_graphs({who: adapter(posed, settings.steps) for who, adapter in installed(EULER).items()})
    works = {who: work_of(solve, posed.x, wanted) for who, solve in solves.items()}
    if process is not None:
        for who, method in (("diffrax", "euler"), ("diffrax, bare scan", "scan")):
            works[who] = process.solve(posed, method, settings.steps, gradient=wanted == "training step")
    accurate = Problem(name, deepcopy(posed.field).double(), posed.x.double(), posed.horizon)
    exact = run_of(accurate, reference(accurate), "forward")()
    with torch.no_grad():
        errors = {who: float((solve(posed.x) - exact).norm() / exact.norm()) for who, solve in solves.items()}
    return {**timed(works, settings.budget), "errors": errors}


def with_cuda_graphs(solves: Mapping[str, Solve]) -> dict[str, Solve]:
    """Add, on a GPU, the compiled odenet launched as CUDA graphs."""
    compiled = solves["odenet, compiled"]
    if device() != "cuda" or not isinstance(compiled, ODEBlock):
        return dict(solves)
    launched_at_once = deepcopy(compiled)
    launched_at_once.compiled = "reduce-overhead"
    return {**solves, "odenet, CUDA graphs": launched_at_once}


def work_of(solve: Solve, x: Tensor, wanted: str) -> Callable[[], object]:
    """Return a function that runs the forward pass under `no_grad`, or forward and backward pass of Σ x(T)²."""
    if wanted == "forward":
        return torch.no_grad()(partial(solve, x))
    x = x.clone().requires_grad_()
    return lambda: solve(x).square().sum().backward()


def timed(works: Mapping[str, Callable[[], object]], budget: float) -> dict[str, Any]:
    """Measure the seconds of all contestants in turn, and of the first call of compiled ones."""
    first = {}
    for who, work in works.items():
        start = time.perf_counter()
        work()
        if "compiled" in who:
            first[who] = time.perf_counter() - start
    return {"seconds": side_by_side(works, budget), "seconds_of_the_first_call": first}


def shares(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the seconds of every package relative to the hand-written loop."""
    seconds = result["seconds"]
    return {who: ratio(seconds, who, "loop") for who in seconds if who != "loop"}


def row(quantity: str, goal: str, result: Mapping[str, Any], names: list[str]) -> Row:
    """Return the table row: every package relative to the hand-written loop, and the largest error if known."""
    seconds = result["seconds"]
    faster = " and ".join(f"{ratio(seconds, 'torchdiffeq', who):.2f}" for who in OURS)
    compiling = result["seconds_of_the_first_call"]["odenet, compiled"]
    error = f"; error {max(result['errors'].values()):.1e}" if "errors" in result else ""
    return {
        "quantity": f"{quantity}: over the hand-written loop",
        "goal": goal,
        "measured": ", ".join(f"{who.replace(',', '')} {share:.3g}" for who, share in shares(result).items()),
        "beside it": f"loop {milliseconds(seconds['loop'])}; torchdiffeq over odenet, eager and compiled, {faster}; "
        f"first compiled call {compiling:.0f} s{error}{without(names)}",
    }


def goal_of(stage: Stage, wanted: str) -> str:
    """Return the goal of a stage; the goal relative to torchdiffeq exists only for a training step with side 14."""
    if wanted == "forward":
        return "odenet ≤ 1.02"
    return "odenet ≤ 1.02" + ("; torchdiffeq over odenet ≥ 1.5" if stage.side == 14 else "")


def measure(settings: FixedStepTiming, run: Run) -> list[Row]:
    """Measure forward passes and training steps of every stage and every small system, and return the table."""
    rows = []
    for stage, wanted in product(settings.stages, ("forward", "training step")):
        result = run.once(f"{stage}, {wanted}", partial(time_stage, stage, wanted, settings.budget))
        rows.append(row(f"{wanted}, {stage}", goal_of(stage, wanted), result, list(stage_solves([]))))
    with nullcontext() if absent(["diffrax"]) else DiffraxProcess() as process:
        for name, batch, wanted in product(settings.dynamics, settings.batches, ("forward", "training step")):
            compute = partial(time_dynamics, settings, process, name, batch, wanted)
            result = run.once(f"{name}, {batch}, {wanted}", compute)
            steps = f"{wanted}, {name}, batch {batch:,}, {settings.steps} Euler steps"
            rows.append(row(steps, GOALS.get((name, batch, wanted), "–"), result, [*EULER, "diffrax"]))
    return rows


def main() -> None:
    """Measure the results that the record lacks, and print the table."""
    run_benchmark("fixed_steps", QUICK, FixedStepTiming(), measure)


if __name__ == "__main__":
    main()
