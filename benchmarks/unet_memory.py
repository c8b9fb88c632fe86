"""Benchmark of the memory of a U-Net whose stages are flows, at 512×512 pixels, with 1 to 16 steps in every flow.

    python -m benchmarks.unet_memory    # half a minute on one core; record: runs/benchmarks/unet_memory-DEVICE.json

Memory is the peak of bytes alive in a training step (forward, backward) on one image, with the gradients of the weights
but without weights and image. Goals: with `Reversible`, 16 steps need at most 1.1 times the memory of one step; with
`Checkpointed`, at most 4 = √16 times; and both need less than backprop at 16 steps.

Each step is an Euler step with one convolution; `Reversible` takes steps of the pair `Coupled(Euler())`, which is kept
in double precision. So its flows need more memory than backprop's at one step, but no more than that for any number of
steps. The remaining memory is kept by the transitions between the flows, which are backpropagated through. Observed: at
16 steps `Checkpointed`, which keeps four states of a flow in single precision, needs slightly less than `Reversible`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.command import Row, device, run_benchmark
from odenet import Backprop, Checkpointed, Euler, FixedSteps, Reversible, configure, group_norm
from odenet.blocks.gradients.base import GradientMethod
from odenet.measure import peak_bytes
from odenet.models import UNet, unet
from odenet.models.resnet import residual_flow
from odenet.training import Run

GOALS: dict[GradientMethod, str] = {Backprop(): "–", Checkpointed(): "≤ 4", Reversible(): "≤ 1.1"}
"""Gradient methods with their goals for the peak memory at the most steps relative to the fewest."""


@dataclass(frozen=True)
class UNetMemory:
    """Settings of the benchmark."""

    widths: tuple[int, ...] = (8, 16, 32, 64)
    """Channels of the stages: an eighth of Ronneberger et al.'s, and one stage fewer, so that one core suffices."""
    side: int = 512
    """Side of the image, in pixels."""
    steps: tuple[int, ...] = (1, 4, 16)
    """Numbers of steps in every flow."""


QUICK = UNetMemory(widths=(2, 4), side=64)


def network(settings: UNetMemory) -> UNet:
    """Return the U-Net, with a transition and a flow in every stage."""
    torch.manual_seed(0)
    return unet(4, 3, widths=settings.widths, norm=group_norm, flow=residual_flow).to(device())


def measured(net: UNet, settings: UNetMemory, method: GradientMethod, steps: int) -> dict[str, Any]:
    """Measure peak bytes and seconds of a training step."""
    image = torch.randn(1, 3, settings.side, settings.side, device=device())
    net.zero_grad()
    start = time.perf_counter()
    with configure(net, stepping=FixedSteps(Euler(), steps), gradient=method):
        most = peak_bytes(lambda: net(image).square().mean().backward())
    return {"peak_bytes": most, "seconds": time.perf_counter() - start}


def row(settings: UNetMemory, method: GradientMethod, goal: str, found: list[dict[str, Any]]) -> Row:
    """Return the table row of a gradient method: the growth of memory with the number of steps."""
    peaks, seconds = [one["peak_bytes"] for one in found], [one["seconds"] for one in found]
    return {
        "quantity": f"U-Net of flows, {method}: peak memory of a training step at {settings.steps[-1]} steps a flow "
        f"over that at {settings.steps[0]}, one image of {settings.side}×{settings.side}, widths "
        f"{', '.join(map(str, settings.widths))}",
        "goal": goal,
        "measured": f"{peaks[-1] / peaks[0]:.2f}",
        "beside it": f"{', '.join(f'{peak / 1e6:,.0f}' for peak in peaks)} MB and "
        f"{', '.join(f'{one:.2g}' for one in seconds)} s at {', '.join(map(str, settings.steps))} steps",
    }


def measure(settings: UNetMemory, run: Run) -> list[Row]:
    """Measure every gradient method, and return the table with a row for each."""
    net, rows = network(settings), []
    for method, goal in GOALS.items():
        found = [
            run.once(f"{method}, {steps} steps", lambda m=method, n=steps: measured(net, settings, m, n))
            for steps in settings.steps
        ]
        rows.append(row(settings, method, goal, found))
    return rows


def main() -> None:
    """Measure the results that the record lacks, and print the table."""
    run_benchmark("unet_memory", QUICK, UNetMemory(), measure)


if __name__ == "__main__":
    main()
