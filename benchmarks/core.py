"""Benchmark of cost and exactness of the blocks, against hand-written loops and torchdiffeq.

    python -m benchmarks.core      # 2 minutes on two cores; the record is runs/benchmarks/core-DEVICE.json

Goals: a training step of `ODEBlock` at most 1.02 times that of the hand-written loop at (32, 64, 6, 6) with 6 blocks
and at (8, 16, 14, 14) with 16; bit equality for every N; one graph under torch.compile, in seconds that do not grow
with the steps; dopri5 over jumps of θ at tolerance 1e-5 to 5e-5 in 60 evaluations; `import odenet` at most 1.15 times
`import torch`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torchdiffeq import odeint

from benchmarks.command import Row, device, path_of
from experiments.support.tables import print_table
from odenet import (
    Adaptive,
    Autonomous,
    BasicBranch,
    Constant,
    FixedSteps,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
)
from odenet.blocks.solvers.named import SOLVERS
from odenet.blocks.solvers.runge_kutta import RungeKutta
from odenet.blocks.theta.base import Theta
from odenet.measure import interleaved, observed_order, ratio
from odenet.training import Run


@dataclass(frozen=True)
class Shape:
    """Size of a flow: a state of shape (batch, channels, side, side) and `blocks` residual blocks."""

    batch: int
    channels: int
    side: int
    blocks: int
    goal: float


SHAPES = (Shape(32, 64, 6, 6, goal=1.02), Shape(8, 16, 14, 16, goal=1.02))


def training_step(shape: Shape) -> Row:
    """Time a training step of the block, of the hand-written loop over its branches, and of torchdiffeq's Euler."""
    branches = [BasicBranch(shape.channels) for _ in range(shape.blocks)]
    block = ODEBlock(PiecewiseConstant(branches))
    x = torch.randn(shape.batch, shape.channels, shape.side, shape.side, requires_grad=True)
    grid = torch.arange(shape.blocks + 1.0)

    def loop() -> Tensor:
        y = x
        for branch in branches:
            y = y + branch(0.0, y)
        return y

    def by_torchdiffeq() -> Tensor:
        # torchdiffeq passes only the time, so the layer is looked up by it.
        solution: Any = odeint(lambda t, y: branches[int(t)](t, y), x, grid, method="euler")
        return solution[-1]

    def step(forward: Callable[[], Tensor]) -> Callable[[], None]:
        return lambda: forward().sum().backward()

    seconds = interleaved({"loop": step(loop), "block": step(lambda: block(x)), "torchdiffeq": step(by_torchdiffeq)})
    return {
        "quantity": f"training step over the hand-written loop's, ({shape.batch}, {shape.channels}, {shape.side}, "
        f"{shape.side}), {shape.blocks} blocks",
        "goal": f"≤ {shape.goal}",
        "measured": f"{ratio(seconds, 'block', 'loop'):.3f}",
        "beside it": f"torchdiffeq's Euler {ratio(seconds, 'torchdiffeq', 'loop'):.2f}; "
        f"loop {1e3 * median(seconds['loop']):.1f} ms",
    }


def equality() -> Row:
    """Count the N from 1 to 256 for which block and hand-written loop agree bit for bit, gradients included."""
    equal = sum(_equal(n) for n in range(1, 257))
    return {
        "quantity": "N in 1..256 with outputs and gradients torch.equal to the loop's (float32, train mode)",
        "goal": "256",
        "measured": str(equal),
        "beside it": f"layer looked up by int(t·n): {sum(_looked_up_right(n) for n in range(1, 257))}",
    }


def _equal(n: int) -> bool:
    torch.manual_seed(n)
    branches = [BasicBranch(2) for _ in range(n)]
    for branch in branches:
        nn.init.normal_(branch.conv2.weight, std=0.3 / n)
    x = torch.randn(2, 2, 3, 3)
    outcomes = []
    for forward in (ODEBlock(PiecewiseConstant(branches)), lambda y: _loop(branches, y)):
        start = x.clone().requires_grad_()
        parameters = [start, *(p for branch in branches for p in branch.parameters())]
        y = forward(start)
        outcomes.append([y, *torch.autograd.grad(y.square().sum(), parameters)])
    return all(torch.equal(a, b) for a, b in zip(*outcomes, strict=True))


def _loop(branches: list[BasicBranch], y: Tensor) -> Tensor:
    for branch in branches:
        y = y + branch(0.0, y)
    return y


def _looked_up_right(n: int) -> bool:
    """Whether int(t·n), t accumulated in float32 steps of 1/n, gives layer k at step k for every k."""
    t, h = torch.tensor(0.0), torch.tensor(1.0 / n)
    for k in range(n):
        if int(t * n) != k:
            return False
        t = t + h
    return True


def compiled() -> Row:
    """Count the configurations of fixed steps that torch.compile compiles as one graph."""
    thetas: dict[str, Callable[[], Theta]] = {
        "constant": lambda: Constant(MLPBranch(3, 8)),
        "piecewise constant": lambda: PiecewiseConstant([MLPBranch(3, 8) for _ in range(3)]),
        "piecewise linear": lambda: PiecewiseLinear([MLPBranch(3, 8) for _ in range(3)]),
    }
    configurations = list(product(thetas.values(), SOLVERS.values(), (1, 4)))
    taken = 0
    for theta, solver, per_piece in configurations:
        block, x = ODEBlock(theta(), FixedSteps(solver(), per_piece)), torch.randn(2, 3)
        torch.compiler.reset()
        taken += torch.allclose(torch.compile(block, fullgraph=True, backend="aot_eager")(x), block(x), atol=1e-6)
    return {
        "quantity": "configurations (θ × solver × steps) that compile as one graph",
        "goal": str(len(configurations)),
        "measured": str(taken),
        "beside it": "forward and backward, torch.compile(fullgraph=True)",
    }


def compiling() -> Row:
    """Measure the seconds until a compiled block of 50 and of 1000 Euler steps has taken its first training step."""

    def first_step(steps: int) -> float:
        torch.compiler.reset()
        block = ODEBlock(Constant(MLPBranch(2, 50)), FixedSteps(per_piece=steps))
        block.compiled = True
        start = time.perf_counter()
        block(torch.randn(256, 2)).sum().backward()
        return time.perf_counter() - start

    with torch.compiler.config.patch(force_disable_caches=True):  # pyright: ignore[reportAttributeAccessIssue]
        first_step(5)  # torch's one-time imports and set-up
        few, many = first_step(50), first_step(1000)
    return {
        "quantity": "seconds of compiling 1000 steps over those of 50, MLP 2-50-2",
        "goal": "≤ 1.2",
        "measured": f"{many / few:.2f}",
        "beside it": f"{few:.1f} s",
    }


def orders() -> list[Row]:
    """Measure the orders on a linear flow whose θ jumps twice, against the product of matrix exponentials, float64."""
    theta, x, exact = _jumping(torch.float64)
    rows = []
    for solver in SOLVERS.values():
        assert issubclass(solver, RungeKutta)
        steps = [16, 32, 64, 128]
        errors = [float((ODEBlock(theta, FixedSteps(solver(), n))(x) - exact).norm()) for n in steps]
        rows.append(
            {
                "quantity": f"order of {solver.__name__} across jumps of θ",
                "goal": f"{solver.order} ± 0.05",
                "measured": f"{observed_order(steps, errors):.3f}",
                "beside it": f"error {errors[0]:.1e} to {errors[-1]:.1e}",
            }
        )
    return rows


def adaptive() -> Row:
    """Measure error and evaluations of dopri5 over two jumps of θ on [0, 1], piece by piece and in one call."""
    theta, x, exact = _jumping(torch.float64)
    block = ODEBlock(theta, Adaptive("dopri5", rtol=1e-5, atol=1e-5))
    error = float((block(x) - exact).norm())
    calls = 0

    def whole(t: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return theta.nodes[min(2, int(t * 3))](t, y)

    solution: Any = odeint(whole, x, torch.tensor([0.0, 1.0]), method="dopri5", rtol=1e-5, atol=1e-5)
    return {
        "quantity": "dopri5 at 1e-5 over three jumping pieces: error in evaluations",
        "goal": "≤ 5e-5 in ≤ 60",
        "measured": f"{error:.1e} in {block.evaluations}",
        "beside it": f"one call over the interval: {float((solution[-1] - exact).norm()):.1e} in {calls}",
    }


def _jumping(dtype: torch.dtype) -> tuple[PiecewiseConstant, Tensor, Tensor]:
    """Return θ of x′ = A_i·x on three pieces of [0, 1], the state at 0, and the exact state at 1."""
    torch.manual_seed(0)
    branches = [Autonomous(nn.Linear(4, 4, bias=False, dtype=dtype)) for _ in range(3)]
    theta = PiecewiseConstant(branches, horizon=1.0).requires_grad_(False)
    x = torch.randn(2, 4, dtype=dtype)
    exact = x
    for branch in branches:
        A = branch.get_parameter("module.weight")
        nn.init.normal_(A)
        exact = exact @ torch.matrix_exp(A / 3).T
    return theta, x, exact


def imports() -> Row:
    """Time `import odenet` relative to `import torch`, in fresh interpreters, alternately."""

    def fresh(module: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
        return time.perf_counter() - start

    pairs = [(fresh("torch"), fresh("odenet")) for _ in range(9)][1:]
    return {
        "quantity": "import odenet over import torch",
        "goal": "≤ 1.15",
        "measured": f"{median(b / a for a, b in pairs):.3f}",
        "beside it": f"import torch {median(a for a, _ in pairs):.2f} s",
    }


def main() -> None:
    """Measure the results that the record lacks, and print the table."""
    path = path_of("core")
    run = Run.open("benchmarks.core", {"device": device()}, path)
    torch.set_default_device(device())
    for shape in SHAPES:
        run.once(f"training step {shape}", lambda shape=shape: training_step(shape))
    for measure in (equality, compiled, compiling, adaptive, imports):
        run.once(measure.__name__, measure)
    run.once("orders", lambda: {"rows": orders()})
    results = dict(run.record.results)
    rows = [*(row for name, row in results.items() if name != "orders"), *results["orders"]["rows"]]
    run.finish(table=rows)
    print_table(f"core, {device()}", rows)
    print(f"record: {path}")


if __name__ == "__main__":
    main()
