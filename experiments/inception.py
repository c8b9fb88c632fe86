"""What do 1×1 bottlenecks save in an Inception module, and in GoogLeNet?

The lecture says: on 256 channels at 28×28, a naive module of 128, 192 and 96 filters takes 854 M multiply-adds, with
bottlenecks of 64 channels 358 M, a saving of some 60 %. Here each module is built both ways on the same map: the
lecture's, and the nine of GoogLeNet with the channels of the paper's table; then GoogLeNet whole, where the naive
modules make each other larger, since their pooling hands all channels on. Multiply-adds and memory are counted; forward
passes and training steps (forward and backward) are timed, naive and bottleneck in turns in one process.

    python -m experiments.inception smoke    # seconds
    python -m experiments.inception cpu      # 4 minutes on one core
    python -m experiments.inception gpu      # larger batches; made for a minute on one H100

Expected: the terms of the lecture's module sum to 271 M (358 counts the one of the 3×3 twice): 68 % saved, in time a
little less, since thin layers are less efficient. Modules of the table save 58 % (3a) to 80 % (5a), GoogLeNet 87 %.
Memory is another matter: a bottleneck is a layer more, whose map is kept for the backward pass, so that a module needs
*more* of it in training; what is saved are the channels that it does not hand on, and that shows in the whole net.
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
"""Of the maps of modules 3a and 3b, 4a to 4e, 5a and 5b."""


@dataclass(frozen=True)
class InceptionCosts(Checked):
    """Settings of the experiment."""

    modules: Annotated[tuple[str, ...], OneOf(("lecture", *WIDTHS))] = ("lecture", *WIDTHS)
    """Modules that are built both ways."""
    batch: int = 8
    """Images in a batch that a module is timed on."""
    whole_batch: int = 2
    """Images in a batch that GoogLeNet is timed on."""
    side: int = 224
    """Pixels of a side of GoogLeNet's images."""
    repetitions: int = 11
    """Of each timing; medians count."""
    threads: int | None = 1
    """CPU threads; one is the steadiest."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes an accelerator where there is one."""


PRESETS = {
    "smoke": InceptionCosts(modules=("lecture", "5a"), batch=1, whole_batch=1, side=64, repetitions=1),
    "cpu": InceptionCosts(),
    "gpu": InceptionCosts(batch=64, whole_batch=32, repetitions=31),
}
GPU_SECONDS = 60  # for the preset gpu on an H100, estimated


def inception(settings: InceptionCosts, _root: object, run: Run) -> None:
    """Build, count and time every module, then GoogLeNet, both ways."""
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
        run.once(name, partial(both, makers, shapes[name], settings.batch, settings.repetitions, device))
    nets = {
        "naive": partial(googlenet, module=NaiveInception.of_widths, auxiliary=None),
        "bottleneck": partial(googlenet, auxiliary=None),
    }
    whole = partial(both, nets, (3, settings.side, settings.side), settings.whole_batch, settings.repetitions, device)
    run.once("GoogLeNet", whole)
    run.finish(table=table(run.record), paper={name: row._asdict() for name, row in published.INCEPTION.items()})


def both(
    makers: Mapping[str, Callable[[], nn.Module]],
    shape: tuple[int, ...],
    batch: int,
    repetitions: int,
    device: torch.device,
) -> dict[str, Any]:
    """Counts for one image of this shape, and seconds for a batch of them, of the two forms of a module."""
    result: dict[str, Any] = {}
    for kind, make in makers.items():
        with torch.device("meta"):  # a gradient goes on to the layers below, so that poolings keep places
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
    """Forward and backward; a module's input needs a gradient too, since layers lie below it."""
    net.zero_grad()
    net(images.requires_grad_()).sum().backward()


def table(record: Record) -> list[dict[str, Any]]:
    """A row for each module and GoogLeNet: naive → with bottlenecks, and the share saved."""
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
