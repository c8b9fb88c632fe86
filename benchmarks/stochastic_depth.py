"""Benchmark of the time that stochastic depth saves: ResNet-110 with p_L = 0.5 against the same net without it.

    python -m benchmarks.stochastic_depth    # 5 minutes on one core, into runs/benchmarks/

Goal: save at least 23 % of a step (zeroing of gradients, forward, backward, SGD with momentum), while 25.5 % of the
residual blocks are skipped on average (Huang et al. 2016 report 24 to 27 % of the training time on 32×32 images, on a
GPU). The nets take their steps in turn. The number of surviving blocks is random in every step, so a saving is a mean
over rounds with its standard error, and is shown beside the share of blocks that were skipped in the same steps.
Surviving branches are scaled by 1/p in training, the default here, or not at all (Huang et al. scale in evaluation),
which saves a product.

The saving is less than the share of skipped blocks if the blocks that are skipped most often cost least. On a CPU, a
block of the first stage (16 channels at full resolution) takes longer than a block of the third stage (64 channels at a
quarter of the resolution) with as many multiply-adds, and more so for larger images: all three sizes are shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.command import device, path_of
from experiments.support.tables import print_table
from odenet import BasicBranch, linear_decay
from odenet.measure import interleaved
from odenet.models import ResNet, cifar_resnet, set_stochastic_depth
from odenet.training import Run


@dataclass(frozen=True)
class Images:
    """Images of a training step: `batch` images of `side`×`side` pixels."""

    batch: int
    side: int


@dataclass(frozen=True)
class StochasticDepthTiming:
    """Settings of the benchmark."""

    blocks: int = 18
    """Number of blocks in each of three stages: 18 give ResNet-110 with its 54 residual blocks."""
    last: float = 0.5
    """Survival probability p_L of the last block."""
    images: tuple[Images, ...] = (Images(32, 8), Images(16, 16), Images(8, 32))
    """Images of the measurements, in small batches, so that a core can take enough steps."""
    rounds: int = 150
    """Number of measured steps of each net."""


def measure(settings: StochasticDepthTiming, images: Images) -> dict[str, Any]:
    """Measure the seconds and the evaluated blocks of each step, of the net without and with stochastic depth."""
    torch.manual_seed(0)
    constant, in_training, in_evaluation = (cifar_resnet(settings.blocks) for _ in range(3))
    set_stochastic_depth(in_training, settings.last, scaling="training")
    set_stochastic_depth(in_evaluation, settings.last, scaling="evaluation")
    nets = {"constant": constant, "training": in_training, "evaluation": in_evaluation}
    evaluated = {name: _Evaluations(net) for name, net in nets.items()}
    steps = {name: evaluated[name].of(_training_step(net, images)) for name, net in nets.items()}
    seconds = interleaved(steps, settings.rounds)
    counted = {name: evaluations.counts[-settings.rounds :] for name, evaluations in evaluated.items()}
    return {"seconds": seconds, "blocks": counted}  # without the warm-up steps


class _Evaluations:
    """Counts the residual branches that each step of a net evaluates."""

    def __init__(self, net: nn.Module) -> None:
        self.counts: list[int] = []
        for module in net.modules():
            if isinstance(module, BasicBranch):
                module.register_forward_pre_hook(self._count)

    def _count(self, *_: object) -> None:
        self.counts[-1] += 1

    def of(self, step: Callable[[], None]) -> Callable[[], None]:
        """Wrap `step` so that each call appends the number of evaluated branches to `counts`."""

        def counted() -> None:
            self.counts.append(0)
            step()

        return counted


def _training_step(net: ResNet, images: Images) -> Callable[[], None]:
    x = torch.randn(images.batch, 3, images.side, images.side)
    labels = torch.randint(10, (images.batch,))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(net(x), labels).backward()
        optimizer.step()

    return step


def savings(seconds: dict[str, list[float]], name: str) -> list[float]:
    """Return 1 - (seconds of the net `name`)/(seconds of the constant net), round by round."""
    return [1 - a / b for a, b in zip(seconds[name], seconds["constant"], strict=True)]


def rows(settings: StochasticDepthTiming, images: Images, result: dict[str, Any]) -> list[dict[str, str]]:
    """Return the table rows of the measured savings beside the shares of skipped blocks."""
    total = 3 * settings.blocks
    expected = 1 - fmean(linear_decay(total, settings.last))
    milliseconds = 1e3 * median(result["seconds"]["constant"])
    net = f"ResNet-{6 * settings.blocks + 2}, p_L = {settings.last:g}"
    shape = f"batch {images.batch} of {images.side}×{images.side}"

    def row(scaling: str, goal: str) -> dict[str, str]:
        saved = savings(result["seconds"], scaling)
        skipped = [1 - blocks / total for blocks in result["blocks"][scaling]]
        return {
            "quantity": f"share of a training step saved, {net}, {shape}, scaled in {scaling}",
            "goal": goal,
            "measured": _percent(saved),
            "beside it": f"blocks skipped {_percent(skipped)} (expected {100 * expected:.1f} %), saved per skipped "
            f"{fmean(saved) / fmean(skipped):.2f}; without {milliseconds:.0f} ms",
        }

    return [row("evaluation", "≥ 23 %"), row("training", "–")]


def _percent(shares: Sequence[float]) -> str:
    """Format shares as `mean ± standard error %`."""
    return f"{100 * fmean(shares):.1f} ± {100 * stdev(shares) / math.sqrt(len(shares)):.1f} %"


def main() -> None:
    """Measure the results that the record lacks, and print the table."""
    torch.set_default_device(device())
    settings = StochasticDepthTiming()
    run = Run.open("benchmarks.stochastic_depth", settings, path_of("stochastic_depth"))
    table = []
    for images in settings.images:
        result = run.once(f"training step {images}", lambda images=images: measure(settings, images))
        table += rows(settings, images, result)
    run.finish(table=table)
    print_table(f"stochastic depth, {device()}", table)
    print(f"record: {run.path}")


if __name__ == "__main__":
    main()
