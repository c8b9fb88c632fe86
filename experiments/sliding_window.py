"""What does a sliding window cost against a fully convolutional net, for a label at every pixel?

One classifier of 56×56 patches, with random weights, labels every pixel in five ways, on images of growing size:

- one by one: a patch around every pixel, each by itself;
- sliding window: the same patches in batches (Farabet et al. 2013; Pinheiro and Collobert 2014);
- shift and stitch: as a convolution of stride 8, on each of 8×8 shifted images, whose answers are interleaved;
- full resolution: with dilated filters instead of strides, so that everything is computed once;
- down and up: as a convolution of stride 8, whose answers are interpolated (as in FCN-8s, but without its skips).

The first four give the same logits; their differences are measured. Multiply-adds and bytes are counted on the meta
device, and seconds are measured. Full resolution avoids the work that the sliding window repeats in overlapping
patches; its share is in the table. AlexNet follows as in Long et al. 2015: 10×10 answers, from 100 patches of 227×227
or one image of 500×500.

    python -m experiments.sliding_window cpu    # 4 minutes on one core
    python -m experiments.sliding_window gpu    # images up to 1024×1024: 90 seconds on an H100, estimated

Expected: on 128×128 pixels the same logits to 1e-5, with 270 times fewer multiply-adds and at least 100 times less
time. AlexNet: 7.77 times fewer multiply-adds; published: 5.45 times less time in batches, 24.5 one by one (K40c).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor, nn

from experiments.support.command import Experiment
from odenet.measure import count_multiply_adds, interleaved, peak_bytes
from odenet.models import (
    FCN,
    DenseClassifier,
    PatchClassifier,
    SlidingWindow,
    alexnet_towers,
    backbone_of,
    patch_backbone,
    shift_and_stitch,
)
from odenet.models.fcn_trunks import last_layer
from odenet.training import Record, Run, Training, launch
from odenet.training.checked import Checked


@dataclass(frozen=True)
class Sliding(Checked):
    """Settings of the experiment."""

    sizes: tuple[int, ...] = (16, 32, 64, 128, 256, 512)
    """Sides of the images in pixels."""
    largest_window: int = 128
    """Side of the largest image for the sliding window, whose time grows with the area (20 seconds at 128)."""
    largest_one_by_one: int = 64
    """Side of the largest image for patches one by one."""
    patches: int = 64
    """Number of patches in a batch of the sliding window: 64 fit into a core's cache; thousands suit a GPU."""
    num_classes: int = 5
    """Number of logits of a pixel."""
    repetitions: int = 3
    """Number of repetitions of each timing, after one warm-up."""
    grid: int = 10
    """Number of answers of AlexNet along a side of the image: 10 in the paper, from 500×500 pixels."""
    threads: int | None = 1
    """Number of CPU threads; times are steadiest with one."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the timings; auto takes an accelerator if there is one."""


CPU = Sliding()
PRESETS = {
    "smoke": replace(CPU, sizes=(8, 16), largest_window=8, largest_one_by_one=8, repetitions=1, grid=1, num_classes=2),
    "cpu": CPU,
    "gpu": replace(
        CPU,
        sizes=(16, 32, 64, 128, 256, 512, 1024),
        largest_window=512,
        patches=4096,
        threads=None,
    ),
}
GPU_SECONDS = 90  # estimated for the preset gpu on an H100


def sliding_window(settings: Sliding, _root: Path | None, run: Run) -> None:
    """Measure every way for every size, and then AlexNet."""
    device = launch(Training(device=settings.device, threads=settings.threads)).device
    for size in settings.sizes:
        run.once(f"size{size}", partial(measured, size, settings, device))
    run.once("alexnet", partial(alexnet, settings, device))
    run.finish(table=table(run.record))


def nets_for(size: int, settings: Sliding) -> dict[str, nn.Module]:
    """Build a net for each way that is measured at this size, all with the weights of one classifier."""
    torch.manual_seed(0)
    classifier = PatchClassifier(settings.num_classes)
    down_up = FCN(patch_backbone(classifier), settings.num_classes)
    down_up.scores[0].load_state_dict(classifier.score.state_dict())
    nets = {
        "one by one": SlidingWindow(classifier, patches=1),
        "sliding window": SlidingWindow(classifier, settings.patches),
        "shift and stitch": ShiftAndStitch(classifier),
        "full resolution": DenseClassifier(classifier),
        "down and up": down_up,
    }
    largest = {"one by one": settings.largest_one_by_one, "sliding window": settings.largest_window}
    return {name: net.eval() for name, net in nets.items() if size <= largest.get(name, size)}


class ShiftAndStitch(nn.Module):
    """Module that computes `shift_and_stitch`, so that it can be measured like the others."""

    def __init__(self, classifier: PatchClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """Return logits: (batch, in_channels, height, width) → (batch, num_classes, height, width)."""
        return shift_and_stitch(self.classifier, x)


@torch.no_grad()
def measured(size: int, settings: Sliding, device: torch.device) -> dict[str, Any]:
    """Measure the costs of each way on one image, and the distance of its logits from those of full resolution."""
    with torch.device("meta"):
        on_meta, image = nets_for(size, settings), torch.empty(1, 3, size, size)
    nets = {name: net.to(device) for name, net in nets_for(size, settings).items()}
    x = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(size)).to(device)
    exact = nets["full resolution"](x)
    seconds = interleaved({n: partial(net, x) for n, net in nets.items()}, settings.repetitions, warm_up=1)
    return {
        "multiply_adds": {name: count_multiply_adds(net, image) for name, net in on_meta.items()},
        "bytes": {name: peak_bytes(partial(net, image)) for name, net in on_meta.items()},
        "difference": {name: float((net(x) - exact).abs().max()) for name, net in nets.items()},
        "largest_logit": float(exact.abs().max()),
        "seconds": {name: median(values) for name, values in seconds.items()},
    }


@torch.no_grad()
def alexnet(settings: Sliding, device: torch.device) -> dict[str, Any]:
    """Measure AlexNet on grid² patches and, as a convolution, on one image that gives as many answers."""
    answers, side = settings.grid**2, 180 + 32 * settings.grid
    with torch.device("meta"):
        net = alexnet_towers()
        dense, image = nn.Sequential(*backbone_of(net).stages, last_layer(net)), torch.empty(1, 3, side, side)
        assert dense(image).shape[2:] == (settings.grid, settings.grid)
        counts = answers * count_multiply_adds(net, torch.empty(1, 3, 227, 227)), count_multiply_adds(dense, image)
    torch.manual_seed(0)
    net = alexnet_towers().to(device).eval()
    dense = nn.Sequential(*backbone_of(net).stages, last_layer(net))
    patches, image = torch.rand(answers, 3, 227, 227, device=device), torch.rand(1, 3, side, side, device=device)
    contestants: dict[str, Callable[[], object]] = {
        "one by one": lambda: [net(patch[None]) for patch in patches],
        "patches": lambda: net(patches),
        "image": lambda: dense(image),
    }
    seconds = interleaved(contestants, settings.repetitions, warm_up=1)
    return {
        "answers": answers,
        "multiply_adds": {"patches": counts[0], "image": counts[1]},
        "seconds": {name: median(values) for name, values in seconds.items()},
    }


def table(record: Record) -> list[dict[str, Any]]:
    """Return a row for each size and way."""
    return [row for size in record.settings["sizes"] for row in _rows(size, record.results[f"size{size}"])]


def _rows(size: int, result: dict[str, Any]) -> list[dict[str, Any]]:
    once = result["multiply_adds"]["full resolution"]
    return [
        {
            "way": name,
            "image": f"{size}×{size}",
            "multiply-adds": f"{count / 1e9:.3f} G",
            "repeated %": f"{100 * max(0, 1 - once / count):.1f}",
            "MiB": f"{result['bytes'][name] / 2**20:.1f}",
            "seconds": f"{result['seconds'][name]:.3g}",
            "difference": f"{result['difference'][name]:.1e}",
        }
        for name, count in result["multiply_adds"].items()
    ]


EXPERIMENT = Experiment("sliding_window", PRESETS, sliding_window)
if __name__ == "__main__":
    EXPERIMENT.main()
