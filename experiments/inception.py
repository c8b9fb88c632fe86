"""What do 1×1 bottlenecks save in an Inception module, and in GoogLeNet?

The lecture says: on 256 channels at 28×28, a naive module of 128, 192 and 96 filters takes 854 M multiply-adds, with
bottlenecks of 64 channels 358 M, a saving of some 60 %. Here each module is built both ways on the same map: that of
the lecture, and the nine of GoogLeNet with the channels of the paper's table. Then GoogLeNet is built as a whole, where
naive modules make the next ones larger, because their pooling branch passes on all channels. Multiply-adds and memory
are counted; forward passes and training steps are timed, naive and bottleneck alternately in one process.

    python -m experiments.inception smoke    # seconds
    python -m experiments.inception cpu      # 4 minutes on one core
    python -m experiments.inception gpu      # larger batches; made for a minute on one H100

Expected: the terms of the lecture's module sum to 271 M (358 counts that of the 3×3 twice): 68 % are saved, in time a
little less, since thin layers are less efficient. Modules of the table save 58 % (3a) to 80 % (5a), GoogLeNet 87 %.
Memory is another matter: a bottleneck is an additional layer whose map is kept for the backward pass, so that a module
needs *more* memory in training. Only the whole net saves memory, since its modules pass on fewer channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from experiments.support import published
from experiments.support.command import Experiment
from experiments.support.costs import counts
from odenet.layers import Inception, InceptionWidths, NaiveInception
from odenet.measure import interleaved
from odenet.models import googlenet
from odenet.models.googlenet import WIDTHS
from odenet.training import Record, Run, Training, launch
from odenet.training.checked import Checked, OneOf

LECTURE = InceptionWidths(128, 64, 192, 64, 96, 64)
"""The lecture's module, on 256 channels at 28×28."""

SIDES = {"3": 28, "4": 14, "5": 7}
"""Sides in pixels of the maps of modules 3a and 3b, 4a to 4e, 5a and 5b."""


@dataclass(frozen=True)
class InceptionCosts(Checked):
    """Settings of the experiment."""

    modules: Annotated[tuple[str, ...], OneOf(("lecture", *WIDTHS))] = ("lecture", *WIDTHS)
    """Modules to measure, each built both ways."""
    batch: int = 8
    """Number of images in the batch on which a module is timed."""
    whole_batch: int = 2
    """Number of images in the batch on which GoogLeNet is timed."""
    side: int = 224
    """Side of GoogLeNet's images in pixels."""
    repetitions: int = 11
    """Number of repetitions of each timing, of which the median counts."""
    threads: int | None = 1
    """Number of CPU threads; times are steadiest with one."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the timings; auto takes an accelerator if there is one."""


PRESETS = {
    "smoke": InceptionCosts(modules=("lecture", "5a"), batch=1, whole_batch=1, side=64, repetitions=1),
    "cpu": InceptionCosts(),
    "gpu": InceptionCosts(batch=64, whole_batch=32, repetitions=31),
}
GPU_SECONDS = 60  # estimated for the preset gpu on an H100


def inception(settings: InceptionCosts, _root: object, run: Run) -> None:
    """Count and time every module, and then GoogLeNet, each built both ways."""
    device = launch(Training(device=settings.device, threads=settings.threads)).device
    in_channels = 192
    shapes = {"lecture": (256, 28, 28)}
    for name, widths in WIDTHS.items():
        shapes[name] = (in_channels, SIDES[name[0]], SIDES[name[0]])
        in_channels = Inception(in_channels, widths).channels
    for name in settings.modules:
        widths = LECTURE if name == "lecture" else WIDTHS[name]
        makers = {
            "naive": partial(NaiveInception.of_widths, shapes[name][0], widths),
            "bottleneck": partial(Inception, shapes[name][0], widths),
        }
        run.once(name, partial(measure_both, makers, shapes[name], settings.batch, settings.repetitions, device))
    nets = {
        "naive": partial(googlenet, module=NaiveInception.of_widths, auxiliary=None),
        "bottleneck": partial(googlenet, auxiliary=None),
    }
    whole = partial(
        measure_both, nets, (3, settings.side, settings.side), settings.whole_batch, settings.repetitions, device
    )
    run.once("GoogLeNet", whole)
    run.finish(table=table(run.record), paper={name: row._asdict() for name, row in published.INCEPTION.items()})


def measure_both(
    makers: Mapping[str, Callable[[], nn.Module]],
    shape: tuple[int, ...],
    batch: int,
    repetitions: int,
    device: torch.device,
) -> dict[str, Any]:
    """Measure both forms of a module: counts for one image of this shape, and seconds for a batch of images."""
    result: dict[str, Any] = {}
    for kind, make in makers.items():
        with torch.device("meta"):  # the input needs a gradient, as in a net: then poolings keep their indices
            result[kind] = counts(make(), torch.empty(1, *shape, requires_grad=True))
    torch.manual_seed(0)
    images = torch.randn(batch, *shape, device=device)
    nets = {kind: make().to(device) for kind, make in makers.items()}
    steps = {"forward": _forward, "training": _training_step}
    for step, work in steps.items():
        seconds = interleaved({kind: partial(work, net, images) for kind, net in nets.items()}, repetitions, warm_up=1)
        result[f"seconds_{step}"] = {kind: median(times) for kind, times in seconds.items()}
    return result


@torch.no_grad()
def _forward(net: nn.Module, images: Tensor) -> None:
    net(images)


def _training_step(net: nn.Module, images: Tensor) -> None:
    """Run forward and backward, with a gradient of the input too, as a module in a net has to compute it."""
    net.zero_grad()
    net(images.requires_grad_()).sum().backward()


def table(record: Record) -> list[dict[str, Any]]:
    """Return a row for each module and GoogLeNet: naive → with bottlenecks, and the share saved."""
    return [_row(name, result) for name, result in record.results.items()]


def _row(name: str, result: dict[str, Any]) -> dict[str, Any]:
    naive, bottleneck = result["naive"], result["bottleneck"]
    row = {"module": name}
    for title, entry, unit in (
        ("M multiply-adds", "multiply_adds", 1e6),
        ("K params", "parameters", 1e3),
        ("MB for training", "activation_bytes", 1e6),
    ):
        row[title] = f"{naive[entry] / unit:,.1f} → {bottleneck[entry] / unit:,.1f}"
    row["saved"] = f"{1 - bottleneck['multiply_adds'] / naive['multiply_adds']:.0%}"
    for step in ("forward", "training"):
        seconds = result[f"seconds_{step}"]
        row[f"time saved, {step}"] = f"{1 - seconds['bottleneck'] / seconds['naive']:.0%}"
    return row


EXPERIMENT = Experiment("inception", PRESETS, inception)
if __name__ == "__main__":
    EXPERIMENT.main()
