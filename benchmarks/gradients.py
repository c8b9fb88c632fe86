"""Benchmark of cost and exactness of the gradient methods, from 8 to 1,024 steps.

    python -m benchmarks.gradients      # 4 minutes on one core; the record is runs/benchmarks/gradients-DEVICE.json

Goals: `Reversible` within 2e-6 (float32) and 1e-12 (float64) of backprop through the same steps, memory at 1,024 steps
at most 1.1 times the memory at 8, time at most 1.6 times; `Checkpointed` equal to the last bit, memory O(√N), time at
most 1.4 times. The benchmark `deep_net` shows what this makes possible: a net of 1,202 layers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from statistics import median

import torch
from torch import Tensor

from benchmarks.command import Row, device, path_of
from experiments.gradient_methods import gradients
from experiments.support.tables import print_table
from odenet import (
    RK4,
    Backprop,
    BasicBranch,
    Checkpointed,
    ContinuousAdjoint,
    Coupled,
    Euler,
    FixedSteps,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    Reversible,
)
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.solvers.runge_kutta import Solver
from odenet.measure import interleaved, peak_bytes, ratio
from odenet.training import Run

STEPS = (8, 32, 128, 512, 1024)
PIECES = 8
SHAPES = {(32, 64, 6, 6): 6, (8, 16, 14, 14): 16}
"""Shapes of states, with the number of residual blocks in the stage that is timed on each."""


def flow(steps: int, solver: Solver, dtype: torch.dtype = torch.float32) -> tuple[ODEBlock, Tensor]:
    """Return a small flow over [0, 2] with eight pieces and the given number of steps, and a state."""
    torch.manual_seed(0)
    branches = [MLPBranch(16, 32) for _ in range(PIECES)]
    block = ODEBlock(PiecewiseConstant(branches, horizon=2.0), FixedSteps(solver, steps // PIECES))
    return block.to(dtype), torch.randn(32, 16, dtype=dtype)


def stage(shape: tuple[int, ...], blocks: int, solver: Solver) -> tuple[ODEBlock, Tensor]:
    """Return a residual stage and a state."""
    torch.manual_seed(0)
    branches = [BasicBranch(shape[1]) for _ in range(blocks)]
    return ODEBlock(PiecewiseConstant(branches, horizon=2.0), FixedSteps(solver)), torch.randn(shape)


def error(block: ODEBlock, x: Tensor, method: GradientMethod) -> float:
    """Return the relative error of all gradients together, against backprop through the same steps."""
    exact, ours = (torch.cat([g.ravel() for g in gradients(block, x, m)]) for m in (Backprop(), method))
    return float((ours - exact).norm() / exact.norm())


def errors(dtype: torch.dtype, goal: float) -> Row:
    """Return the table row of the largest error of `Reversible` over solvers and numbers of steps."""
    cases = product((Coupled(Euler()), Coupled(RK4())), STEPS)
    found = [error(*flow(steps, solver, dtype), Reversible()) for solver, steps in cases]
    adjoint = error(*flow(64, Euler(), dtype), ContinuousAdjoint())
    return {
        "quantity": f"Reversible: relative error of the gradient, {str(dtype).removeprefix('torch.')}, Euler and RK4, "
        "8 to 1,024 steps, at worst",
        "goal": f"≤ {goal:g}",
        "measured": f"{max(found):.0e}",
        "beside it": f"ContinuousAdjoint, 64 Euler steps: {adjoint:.0e}",
    }


def single_precision_alone() -> Row:
    """Return the table row of the error with a coupling of 0.99, beside a prototype's in single precision alone."""
    block, x = flow(1024, Coupled(Euler(), 0.99))
    return {
        "quantity": "Reversible: the same with a coupling of 0.99 at 1,024 steps, float32",
        "goal": "≤ 2e-06",
        "measured": f"{error(block, x, Reversible()):.0e}",
        "beside it": "the pair carried in float32 too, a prototype: 3e-4",
    }


def equality() -> Row:
    """Return the table row of the number of cases in which the gradient of `Checkpointed` is equal to the last bit."""
    cases = list(product((Euler(), RK4(), Coupled(RK4())), STEPS, (None, 3)))
    equal = 0
    for solver, steps, segments in cases:
        block, x = flow(steps, solver)
        pairs = zip(gradients(block, x, Checkpointed(segments)), gradients(block, x, Backprop()), strict=True)
        equal += all(torch.equal(a, b) for a, b in pairs)
    return {
        "quantity": "Checkpointed: solvers × steps × segments with gradients torch.equal to backprop's, float32",
        "goal": str(len(cases)),
        "measured": str(equal),
        "beside it": "–",
    }


def memory(method: GradientMethod, goal: str, least: int, most: int) -> Row:
    """Return the table row of peak memory in forward and backward pass, at `most` steps relative to `least` steps."""

    def peak(steps: int, method: GradientMethod) -> int:
        block, x = flow(steps, Coupled(Euler()))
        return peak_bytes(lambda: gradients(block, x, method))

    few, many = peak(least, method), peak(most, method)
    backprop = peak(most, Backprop())
    return {
        "quantity": f"{method}: peak memory at {most:,} steps over that at {least}",
        "goal": goal,
        "measured": f"{many / few:.2f}",
        "beside it": f"{many / 1e6:.2f} MB at {most:,} steps; backprop {backprop / 1e6:.1f} MB",
    }


def seconds(method: GradientMethod, solver: Solver, goal: str) -> Row:
    """Return the table row of the time of forward and backward pass relative to backprop through the same steps."""
    found = {}
    for shape, blocks in SHAPES.items():
        block, x = stage(shape, blocks, solver)
        contestants: dict[str, Callable[[], object]] = {
            "ours": partial(gradients, block, x, method),
            "backprop": partial(gradients, block, x, Backprop()),
        }
        taken = interleaved(contestants, 21)
        found[shape] = ratio(taken, "ours", "backprop"), median(taken["backprop"])
    return {
        "quantity": f"{method}: time over backprop's through the same steps, "
        + " and ".join(f"{shape}, {blocks} blocks" for shape, blocks in SHAPES.items()),
        "goal": goal,
        "measured": ", ".join(f"{share:.2f}" for share, _ in found.values()),
        "beside it": f"backprop {', '.join(f'{1e3 * time:.0f}' for _, time in found.values())} ms",
    }


def main() -> None:
    """Measure the results that the record lacks, and print the table."""
    torch.set_num_threads(1)
    path = path_of("gradients")
    run = Run.open("benchmarks.gradients", {"device": device()}, path)
    torch.set_default_device(device())
    measurements: dict[str, Callable[[], Row]] = {
        "errors float32": partial(errors, torch.float32, 2e-6),
        "errors float64": partial(errors, torch.float64, 1e-12),
        "coupling": single_precision_alone,
        "equality": equality,
        "memory reversible": partial(memory, Reversible(), "≤ 1.1", 8, 1024),
        "memory checkpointed": partial(memory, Checkpointed(), "≤ 4, that is √16", 64, 1024),
        "seconds reversible": partial(seconds, Reversible(), Coupled(Euler()), "≤ 1.6"),
        "seconds checkpointed": partial(seconds, Checkpointed(), Euler(), "≤ 1.4"),
    }
    for name, measure in measurements.items():
        run.once(name, measure)
    rows = list(run.record.results.values())
    run.finish(table=rows)
    print_table(f"gradients, {device()}", rows)
    print(f"record: {path}")


if __name__ == "__main__":
    main()
