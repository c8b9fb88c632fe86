"""What a U-Net whose stages are flows needs of memory at 512×512 pixels, from 1 to 16 steps in every flow.

    python -m benchmarks.unet_memory    # half a minute on one core; record: runs/benchmarks/unet_memory-DEVICE.json

The most bytes alive at once in a training step (forward, backward) of one image, weights and image not counted,
gradients of the weights counted. Goals: with `Reversible` 16 steps need at most 1.1 times what one step needs, with
`Checkpointed` at most 4 = √16 times, and both less than backprop at 16 steps.

The steps are Euler's, of one convolution each; under `Reversible` those of the pair `Coupled(Euler())`, which is
carried in double precision. So its flows need more than backprop's at one step, and no more than that at any number.
What then remains is kept by the transitions between the flows, which are backpropagated through. Seen: at 16 steps
Checkpointed, which keeps four states of a flow in single precision, still needs a little less than Reversible.
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
"""Gradient methods, and peak memory at most steps over that at fewest."""


@dataclass(frozen=True)
class UNetMemory:
    """Settings of the benchmark."""

    widths: tuple[int, ...] = (8, 16, 32, 64)
    """Channels of the stages: an eighth of those of Ronneberger et al., one stage fewer, for one core."""
    side: int = 512
    """Of the image."""
    steps: tuple[int, ...] = (1, 4, 16)
    """Of every flow."""


QUICK = UNetMemory(widths=(2, 4), side=64)


def network(settings: UNetMemory) -> UNet:
    """The U-Net: a transition and a flow in every stage."""
    torch.manual_seed(0)
    return unet(4, 3, widths=settings.widths, norm=group_norm, flow=residual_flow).to(device())


def measured(net: UNet, settings: UNetMemory, method: GradientMethod, steps: int) -> dict[str, Any]:
    """Peak bytes and seconds of a training step."""
    image = torch.randn(1, 3, settings.side, settings.side, device=device())
    net.zero_grad()
    start = time.perf_counter()
    with configure(net, stepping=FixedSteps(Euler(), steps), gradient=method):
        most = peak_bytes(lambda: net(image).square().mean().backward())
    return {"peak_bytes": most, "seconds": time.perf_counter() - start}


def row(settings: UNetMemory, method: GradientMethod, goal: str, found: list[dict[str, Any]]) -> Row:
    """How the memory of a gradient method grows with the steps."""
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
    """A row for each gradient method."""
    net, rows = network(settings), []
    for method, goal in GOALS.items():
        found = [
            run.once(f"{method}, {steps} steps", lambda m=method, n=steps: measured(net, settings, m, n))
            for steps in settings.steps
        ]
        rows.append(row(settings, method, goal, found))
    return rows


def main() -> None:
    """Measure everything, once, and print the table."""
    run_benchmark("unet_memory", QUICK, UNetMemory(), measure)


if __name__ == "__main__":
    main()
