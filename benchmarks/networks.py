"""Benchmark of training steps of networks: ResNets of odenet, torchvision and timm, ODE-Nets of odenet and torchdiffeq.

    python -m benchmarks.networks    # 4 minutes on one core; the record is runs/benchmarks/networks-DEVICE.json

A step sets gradients to none and takes forward pass, cross-entropy, backward pass and SGD with momentum. All networks
run in the same mode: on a CPU eagerly in float32; on a GPU channels last, the ResNets compiled and in bfloat16 by
autocast, the ODE-Nets as they are in float32, since error control bears neither (written, not run yet). torchvision and
timm have no ResNet-20, so theirs is composed of their basic blocks with 1×1 convolutions as shortcuts, and ours has the
same. The ODE-Net is that of Chen et al. (2018): torchdiffeq's example has the same layers around a block that calls
`odeint_adjoint` at tolerance 1e-3; here all contestants have the same weights and the same tolerance.

Goals: ResNets at least as fast as torchvision's (time ratio ≤ 1.02; on a GPU, at least as many images per second); on a
GPU, the ODE-Net at least 5 times faster than torchdiffeq's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchdiffeq import odeint, odeint_adjoint

from benchmarks.command import Row, device, run_benchmark
from benchmarks.peers.packages import installed, without
from benchmarks.side_by_side import milliseconds, side_by_side
from odenet import Adaptive, Backprop, ODEBlock, configure
from odenet.blocks.extras import Extra
from odenet.measure import ratio
from odenet.models import cifar_resnet, ode_net, resnet50
from odenet.models.resnet import projected_shortcut
from odenet.training import Run

with Extra("data"):
    from torchvision.models import resnet as torchvision_resnet

Make = Callable[[], nn.Module]


@dataclass(frozen=True)
class Images:
    """Batch size, channels and side of the images of a training step."""

    batch: int
    channels: int
    side: int


@dataclass(frozen=True)
class NetworkTiming:
    """Settings of the benchmark: the images for each network."""

    resnet20: Images = Images(16, 3, 32)
    """Images for ResNet-20, of the size of CIFAR-10's."""
    resnet50: Images = Images(2, 3, 128)
    """Images for ResNet-50, smaller than ImageNet's, so that a core can take some steps."""
    ode_net: Images = Images(16, 1, 28)
    """Images for the ODE-Net, of the size of MNIST's."""
    budget: float = 50.0
    """Seconds for the rounds of each network."""


QUICK = NetworkTiming(Images(2, 3, 8), Images(2, 3, 32), Images(2, 1, 28), budget=0.0)
ON_A_GPU = NetworkTiming(Images(128, 3, 32), Images(128, 3, 224), Images(128, 1, 28), budget=10.0)


def resnet20_of(block: Callable[..., nn.Module]) -> nn.Module:
    """Return a ResNet-20 composed of a package's basic blocks."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    for before, channels in pairwise((16, 16, 32, 64)):
        stride = 1 if before == channels else 2
        shortcut = None if stride == 1 else projected_shortcut(before, channels, stride)
        layers += [block(before, channels, stride, shortcut), block(channels, channels), block(channels, channels)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def timm(name: str) -> Any:
    """Return an attribute of `timm.models.resnet`."""
    return getattr(import_module("timm.models.resnet"), name)


RESNET20: dict[str, Make] = {
    "torchvision": lambda: resnet20_of(torchvision_resnet.BasicBlock),
    "odenet": lambda: cifar_resnet(3, shortcut=projected_shortcut),
    "timm": lambda: resnet20_of(timm("BasicBlock")),
}
RESNET50: dict[str, Make] = {
    "torchvision": torchvision_resnet.resnet50,
    "odenet": resnet50,
    "timm": lambda: timm("resnet50")(),
}


class ExampleBlock(nn.Module):
    """ODE block of torchdiffeq's example, x(0) ↦ x(1) with dopri5 at tolerance 1e-3."""

    def __init__(self, field: nn.Module, solver: Callable[..., Any]) -> None:
        super().__init__()
        self.field, self.solver = field, solver

    def forward(self, x: Tensor) -> Tensor:
        """Return x(1) for x = x(0)."""
        return self.solver(self.field, x, x.new_tensor([0.0, 1.0]), rtol=1e-3, atol=1e-3)[1]


def ode_nets() -> dict[str, Make]:
    """Return functions that make copies of one ODE-Net, with several solvers and gradient methods."""
    torch.manual_seed(0)
    net = ode_net()
    assert isinstance(net.flow, ODEBlock)
    field = net.flow.theta.nodes[0]

    def example(solver: Callable[..., Any]) -> nn.Module:
        other = deepcopy(net)
        other.flow = ExampleBlock(deepcopy(field), solver)
        return other

    def per_sample() -> nn.Module:
        other = deepcopy(net)
        stepping = Adaptive("dopri5", rtol=1e-3, atol=1e-3, per_sample=True)
        configure(other, stepping=stepping, gradient=Backprop(), compile=True)
        return other

    return {
        "torchdiffeq": lambda: example(odeint_adjoint),
        "torchdiffeq, backprop": lambda: example(odeint),
        "odenet": lambda: deepcopy(net),
        "odenet, per sample, backprop": per_sample,
    }


def training_step(make: Make, images: Images, classes: int, *, fast_on_gpu: bool) -> Callable[[], object]:
    """Return a training step on noise; on a GPU compiled and in bfloat16 if `fast_on_gpu`, channels last anyway.

    Error control takes neither: torchdiffeq's loop over steps falls into 95 graphs, and the rounding of bfloat16 is
    larger than the tolerance.
    """
    net = make().to(device())
    x = torch.randn(images.batch, images.channels, images.side, images.side).to(device())
    labels = torch.randint(classes, (images.batch,)).to(device())
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
    forward: Callable[[Tensor], Tensor] = net
    if device() == "cuda":
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
        forward = torch.compile(net) if fast_on_gpu else net

    def step() -> None:
        optimizer.zero_grad()
        with precision() if fast_on_gpu else nullcontext():
            loss = F.cross_entropy(forward(x), labels)
        loss.backward()
        optimizer.step()

    return step


def precision() -> AbstractContextManager[object]:
    """Return the autocast context: bfloat16 on a GPU, nothing on a CPU."""
    return torch.autocast("cuda", torch.bfloat16) if device() == "cuda" else nullcontext()


def timed(
    makers: Mapping[str, Make], images: Images, classes: int, budget: float, *, fast_on_gpu: bool
) -> dict[str, Any]:
    """Measure the seconds of a training step of each network."""
    steps = {
        who: training_step(make, images, classes, fast_on_gpu=fast_on_gpu) for who, make in installed(makers).items()
    }
    return {"seconds": side_by_side(steps, budget)}


def row(net: str, images: Images, goal: str, makers: Mapping[str, Make], result: Mapping[str, Any]) -> Row:
    """Return the table row: seconds of each contestant relative to the first, which is the other package's."""
    seconds = result["seconds"]
    first, *others = seconds
    return {
        "quantity": f"training step, {net}, {images.batch} images of {images.side}×{images.side}: over {first}'s",
        "goal": goal,
        "measured": ", ".join(f"{who.replace(',', '')} {ratio(seconds, who, first):.3g}" for who in others),
        "beside it": f"{first} {milliseconds(seconds[first])}{without(makers)}",
    }


def measure(settings: NetworkTiming, run: Run) -> list[Row]:
    """Measure the three networks, and return the table."""
    on_gpu = device() == "cuda"
    cases = [
        ("ResNet-20", settings.resnet20, 10, "odenet ≤ 1.02", RESNET20),
        ("ResNet-50", settings.resnet50, 1000, "odenet ≤ 1.00" if on_gpu else "odenet ≤ 1.02", RESNET50),
        ("ODE-Net", settings.ode_net, 10, "odenet ≤ 0.2" if on_gpu else "–", ode_nets()),
    ]
    rows = []
    for net, images, classes, goal, makers in cases:
        is_resnet = net.startswith("ResNet")
        result = run.once(net, partial(timed, makers, images, classes, settings.budget, fast_on_gpu=is_resnet))
        rows.append(row(net, images, goal, makers, result))
    return rows


def main() -> None:
    """Measure the results that the record lacks, and print the table."""
    run_benchmark("networks", QUICK, ON_A_GPU if device() == "cuda" else NetworkTiming(), measure)


if __name__ == "__main__":
    main()
