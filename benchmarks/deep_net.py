"""Benchmark of memory: does a net of 1,202 layers train in the activation memory of an ordinary ResNet-20?

    python -m benchmarks.deep_net      # 4 minutes on one core; the record is runs/benchmarks/deep_net-cpu.json

Both nets have the widths of He et al. 2015, section 4.2. The flows of the deep net, each with at least 199
pre-activation blocks in steps of h = 1/16, are `Reversible`; ResNet-20 is trained by backpropagation. The benchmark
measures the bytes per image that are kept between forward and backward pass, and those that are alive at the peak. The
peak is found on the meta device, where nothing is computed and the batch can be so large that activations dominate: the
gradients of the parameters do not grow with it (19.4 million of them are 78 MB). Then the deep net takes training steps
on Fashion-MNIST, at half the resolution.

Goal: a ratio of at most 1, and a loss that falls without a `DriftWarning`, which reports an inexact gradient.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

from benchmarks.command import Row
from experiments.support.tables import print_table
from odenet import ODEBlock, Reversible, configure
from odenet.blocks.gradients.reversible import DriftWarning
from odenet.data import Batches, load
from odenet.measure import activation_bytes, count_layers, peak_bytes
from odenet.models import ResNet, cifar_resnet, resnet20
from odenet.training import Run

MANY = 4096
"""Number of images of 32×32 pixels: they make gigabytes of activations, which determine the peak."""


@dataclass(frozen=True)
class DeepNet:
    """Settings of the benchmark."""

    blocks: int = 200
    """Number n of blocks per stage: the deep net has 6n + 2 layers."""
    h: float = 0.0625
    """Euler step: 200 blocks are a flow over [0, 12.5]. Over [0, 200] training makes flows chaotic, and they drift."""
    steps: int = 40
    """Number of training steps."""
    batch_size: int = 16
    """Number of images in a training step."""
    lr: float = 1e-3
    """Learning rate of Adam, whose steps do not shrink with h."""


def deep(settings: DeepNet, in_channels: int = 3, stem_stride: int = 1) -> ResNet:
    """Return the net of many layers with small steps, which keeps two states of each flow."""
    net = cifar_resnet(settings.blocks, 10, in_channels, activation="pre", stem_stride=stem_stride)
    for flow in (module for module in net.modules() if isinstance(module, ODEBlock)):
        flow.theta.horizon = settings.h * flow.theta.number_of_pieces
    configure(net, gradient=Reversible())
    return net


def kept_per_image(net: nn.Module) -> float:
    """Return the bytes per image that are kept between forward and backward pass."""
    images = torch.empty(4, 3, 32, 32, device="meta")
    return activation_bytes(net, images) / len(images)


def peak_per_image(net: nn.Module) -> float:
    """Return the bytes that one more image adds to the peak memory of a forward and a backward pass."""

    def peak(batch: int) -> int:
        net.zero_grad()
        return peak_bytes(lambda: net(torch.empty(batch, 3, 32, 32, device="meta")).sum().backward())

    return (peak(2 * MANY) - peak(MANY)) / MANY


def memory(settings: DeepNet, measure: Callable[[nn.Module], float], what: str) -> Row:
    """Return the table row of the memory of the deep net relative to ResNet-20."""
    with torch.device("meta"):
        nets = deep(settings), resnet20()
    ours, ordinary = (measure(net) / 1e6 for net in nets)
    return {
        "quantity": f"activations of {count_layers(nets[0]):,} layers under Reversible over those of ResNet-20, {what}",
        "goal": "≤ 1",
        "measured": f"{ours / ordinary:.2f}",
        "beside it": f"{ours:.2f} against {ordinary:.2f} MB an image of 32×32",
    }


def training(settings: DeepNet, batches: Batches) -> Row:
    """Train the deep net for some steps, and return the table row of loss, memory and reported drifts."""
    torch.manual_seed(0)
    channels = batches.split.image_shape[0]
    net, ordinary = deep(settings, channels, stem_stride=2), resnet20(10, channels, stem_stride=2)
    optimizer = optim.Adam(net.parameters(), lr=settings.lr)
    losses = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DriftWarning)
        for _, (images, labels) in zip(range(settings.steps), batches.epoch(0), strict=False):
            optimizer.zero_grad()
            losses.append(_pass(net, images, labels))
            optimizer.step()
    drifts = sum(issubclass(warning.category, DriftWarning) for warning in caught)
    fifth = max(1, len(losses) // 5)
    return {
        "quantity": f"loss of {count_layers(net):,} layers on {batches.batch_size} images a step, {len(losses)} steps, "
        "means of the first and the last fifth",
        "goal": "falls",
        "measured": f"{fmean(losses[:fifth]):.2f} → {fmean(losses[-fifth:]):.2f}",
        "beside it": f"{drifts} drifts; {_bytes_of_step(net, batches)}; ResNet-20: {_bytes_of_step(ordinary, batches)}",
    }


def _pass(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the loss, after accumulating its gradient in the parameters."""
    loss = F.cross_entropy(net(images), labels)
    loss.backward()
    return loss.item()


def _bytes_of_step(net: nn.Module, batches: Batches) -> str:
    net.zero_grad()
    images, labels = next(batches.epoch(0))
    peak, own = peak_bytes(lambda: _pass(net, images, labels)), sum(p.nbytes for p in net.parameters())
    return f"{peak / 1e6:.1f} MB at the peak of a step, where parameters' gradients are {own / 1e6:.1f}"


def main() -> None:
    """Measure the results that the record lacks, and print the table."""
    torch.set_num_threads(1)
    settings, path = DeepNet(), Path("runs/benchmarks/deep_net-cpu.json")
    run = Run.open("benchmarks.deep_net", settings, path)
    images = load("fashion-mnist").train_batches(settings.batch_size, seed=0, augment=False, drop_last=True)
    measurements: dict[str, Callable[[], Row]] = {
        "kept": partial(memory, settings, kept_per_image, "kept for the backward pass"),
        "peak": partial(memory, settings, peak_per_image, "at the peak"),
        "training": partial(training, settings, images),
    }
    rows = [run.once(name, measure) for name, measure in measurements.items()]
    run.finish(table=rows)
    print_table("deep net", rows)
    print(f"record: {path}")


if __name__ == "__main__":
    main()
