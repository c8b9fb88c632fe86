"""What the gradient methods cost and how exact they are, from 8 to 1,024 steps.

    python -m benchmarks.gradients      # 4 minutes on one core; the record is runs/benchmarks/gradients-DEVICE.json

Goals: `Reversible` within 2e-6 (float32) and 1e-12 (float64) of backprop through the same steps, memory at 1,024 steps
at most 1.1 times that at 8, time at most 1.6 times; `Checkpointed` equal to the last bit, memory O(√N), time at most
1.4 times. What this makes possible, a net of 1,202 layers, has a benchmark of its own, `deep_net`.
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
"""States, with the residual blocks of the stages that are timed on them."""


def flow(steps: int, solver: Solver, dtype: torch.dtype = torch.float32) -> tuple[ODEBlock, Tensor]:
    """A small flow of so many steps on eight pieces over [0, 2], and a state."""
    torch.manual_seed(0)
    branches = [MLPBranch(16, 32) for _ in range(PIECES)]
    block = ODEBlock(PiecewiseConstant(branches, horizon=2.0), FixedSteps(solver, steps // PIECES))
    return block.to(dtype), torch.randn(32, 16, dtype=dtype)


def stage(shape: tuple[int, ...], blocks: int, solver: Solver) -> tuple[ODEBlock, Tensor]:
    """A residual stage, and a state."""
    torch.manual_seed(0)
    branches = [BasicBranch(shape[1]) for _ in range(blocks)]
    return ODEBlock(PiecewiseConstant(branches, horizon=2.0), FixedSteps(solver)), torch.randn(shape)


def error(block: ODEBlock, x: Tensor, method: GradientMethod) -> float:
    """Relative, of all gradients together, against backprop through the same steps."""
    exact, ours = (torch.cat([g.ravel() for g in gradients(block, x, m)]) for m in (Backprop(), method))
    return float((ours - exact).norm() / exact.norm())


def errors(dtype: torch.dtype, goal: float) -> Row:
    """The error of `Reversible`, at worst over solvers and numbers of steps."""
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
    """The coupling without the pair in double precision, at 1,024 steps: what the default is for."""
    block, x = flow(1024, Coupled(Euler(), 0.99))
    return {
        "quantity": "Reversible: the same with a coupling of 0.99 at 1,024 steps, float32",
        "goal": "≤ 2e-06",
        "measured": f"{error(block, x, Reversible()):.0e}",
        "beside it": "the pair carried in float32 too, a prototype: 3e-4",
    }


def equality() -> Row:
    """In how many cases the gradient of `Checkpointed` is equal to the last bit."""
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
    """Most bytes alive in a forward and a backward pass, at 1,024 steps over that at `least`."""

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
    """Time of forward and backward pass over that of backprop through the same steps."""
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
    """Measure everything, once, and print the table."""
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
