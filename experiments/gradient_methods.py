"""Which gradient? Error, memory and time against the number of steps, and what training with each one reaches.

Six methods compute the gradient of a loss through a flow of Euler steps: backprop; `Checkpointed`; `Reversible` with
three reversible solvers, which are the coupling of McCallum and Foster around Euler, MALI's asynchronous leapfrog and
the reversible Heun method; and the continuous adjoint of Chen et al. Each runs in float32, and is compared with float64
backprop *through the same steps*.

They are measured on a small flow on [0, 2] with 8 to 1,024 steps, on the same flow with 64 steps and h from 1/64 to
1/4, and on a residual stage of the main experiment; then its net is trained by each, with four steps on each piece.

    python -m experiments.gradient_methods cpu    # Fashion-MNIST: 25 minutes on one core
    python -m experiments.gradient_methods gpu    # at 28×28, three stages, 3 epochs (full: 5): 100 s a seed on an H100

Expected: backprop has an error of 1e-7 and memory O(N); checkpointed the same error, O(√N), 4/3 of the time; reversible
about 1e-7, O(1), 4/3 of the time (a prototype: 8e-8 at 128 steps, 0.8 MB against 196 MB); the adjoint an error of O(h).
Reversible Heun departs from its flow where that contracts. Accuracies agree within the spread of seeds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from experiments.support.command import Experiment, Settings, on_images
from experiments.support.presets import ON_A_GPU
from experiments.support.statistics import over_seeds, spread
from experiments.support.training import train
from odenet import (
    AsynchronousLeapfrog,
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
    ReversibleHeun,
    group_norm,
)
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.solvers.runge_kutta import Solver
from odenet.data import ImageData
from odenet.measure import peak_bytes
from odenet.models import ResNet, cifar_resnet
from odenet.training import Record, Run, Training

METHODS: dict[str, tuple[Solver, GradientMethod]] = {
    "backprop": (Euler(), Backprop()),
    "checkpointed": (Euler(), Checkpointed()),
    "reversible": (Coupled(Euler()), Reversible()),
    "asynchronous_leapfrog": (AsynchronousLeapfrog(), Reversible()),
    "reversible_heun": (ReversibleHeun(), Reversible()),
    "adjoint": (Euler(), ContinuousAdjoint()),
}


@dataclass(frozen=True)
class GradientMethods(Settings):
    """Settings of the experiment."""

    steps: tuple[int, ...] = (8, 32, 128, 512, 1024)
    """Numbers of steps of the small flow, which has eight pieces of θ."""
    horizons: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)
    """Horizons T of the small flow with 64 steps, so that h = T/64."""
    conv_steps: tuple[int, ...] = (8, 32, 128)
    """Numbers of steps of a residual stage of eight blocks."""
    repetitions: int = 3
    """Number of repetitions of each timing, of which the fastest counts."""
    blocks: int = 1
    """Number N of pieces of θ in the flow of each stage of the trained net; T = N."""
    per_piece: int = 4
    """Number of steps on each piece of θ of the trained net."""
    widths: tuple[int, ...] = (16, 32)
    """Channels of each stage."""
    stem_stride: int = 2
    """Stride of the first convolution; with 2, which halves the image, a net takes a quarter of the operations."""


ONE_EPOCH = Training(epochs=1, batch_size=64, lr=0.2, threads=1)
CPU = GradientMethods(train_images=16000, seeds=(0, 1, 2, 3, 4), augment=False, training=ONE_EPOCH)
GPU = GradientMethods(blocks=2, widths=(16, 32, 64), stem_stride=1, training=Training(epochs=3, lr=0.4, **ON_A_GPU))
PRESETS = {
    "smoke": replace(
        CPU,
        data="digits",
        train_images=128,
        seeds=(0,),
        steps=(8, 16),
        horizons=(1.0, 4.0),
        conv_steps=(8, 16),
        repetitions=1,
        widths=(4, 8),
        stem_stride=1,
    ),
    "cpu": CPU,
    "gpu": GPU,
    "full": replace(GPU, conv_steps=(8, 32, 128, 512), training=replace(GPU.training, epochs=5)),
}
GPU_SECONDS = 100  # estimated for one seed of the preset gpu on an H100


def gradient_methods(settings: GradientMethods, data: ImageData, run: Run) -> None:
    """Measure every method on every flow, and train the net with each method."""
    images = next(data.test_batches(16).epoch(0))[0]
    for name in METHODS:
        for n in settings.steps:
            run.once(f"steps/{name}/{n}", lambda name=name, n=n: measured(name, *small_flow(n, 2.0), settings))
        for T in settings.horizons:
            run.once(f"h/{name}/{T / 64:g}", lambda name=name, T=T: measured(name, *small_flow(64, T), settings))
        for n in settings.conv_steps:
            run.once(f"conv/{name}/{n}", lambda name=name, n=n: measured(name, *conv_flow(n, images), settings))
        for seed in settings.seeds:
            torch.manual_seed(seed)
            key, net = f"seed{seed}/{name}", network(name, settings, data)
            trained = partial(train, net, key, settings, data, seed, run)
            run.once(key, lambda trained=trained: {"accuracy": trained().last["test_accuracy"]})
    run.finish(table=table(run.record))


def small_flow(steps: int, horizon: float) -> tuple[ODEBlock, Tensor]:
    """Build a flow of eight pieces of θ, and 16 states of 8 numbers."""
    torch.manual_seed(0)
    theta = PiecewiseConstant([MLPBranch(8, 32) for _ in range(8)], horizon)
    return ODEBlock(theta, FixedSteps(Euler(), steps // 8)), torch.randn(16, 8)


def conv_flow(steps: int, images: Tensor) -> tuple[ODEBlock, Tensor]:
    """Build a residual stage of eight blocks of 16 channels on [0, 1], and its input, from a convolution of images."""
    torch.manual_seed(0)
    x = nn.Conv2d(images.shape[1], 16, 3, stride=2, padding=1)(images.cpu()).detach()
    theta = PiecewiseConstant([BasicBranch(16, norm=group_norm) for _ in range(8)], 1.0)
    return ODEBlock(theta, FixedSteps(Euler(), steps // 8)), x


def measured(name: str, block: ODEBlock, x: Tensor, settings: GradientMethods) -> dict[str, float]:
    """Measure the relative error of a float32 gradient, and peak memory and seconds of a forward and backward pass."""
    solver, method = METHODS[name]
    assert isinstance(block.stepping, FixedSteps)
    block.stepping = FixedSteps(solver, block.stepping.per_piece)
    found, seconds = vector(gradients(block, x, method)), []
    for _ in range(settings.repetitions):
        start = time.perf_counter()
        gradients(block, x, method)
        seconds.append(time.perf_counter() - start)
    memory = peak_bytes(lambda: gradients(block, x, method))
    exact = vector(gradients(block.double(), x.double(), Backprop()))
    return {"error": float((found - exact).norm() / exact.norm()), "megabytes": memory / 1e6, "seconds": min(seconds)}


def gradients(block: ODEBlock, x: Tensor, method: GradientMethod) -> tuple[Tensor, ...]:
    """Compute the gradient of ‖x(T)‖² with respect to x(0) and θ."""
    block.gradient = method
    x = x.detach().requires_grad_()
    return torch.autograd.grad(block(x).square().sum(), [x, *block.parameters()])


def vector(tensors: Iterable[Tensor]) -> Tensor:
    """Concatenate tensors into one vector in double precision."""
    return torch.cat([tensor.double().ravel() for tensor in tensors])


def network(name: str, settings: GradientMethods, data: ImageData) -> ResNet:
    """Build the pre-activation net with flows of this method, and GroupNorm, which has no running statistics."""
    solver, method = METHODS[name]

    def flow(make_branch: Callable[[], nn.Module], _blocks: int, _projection: object) -> ODEBlock:
        theta = PiecewiseConstant([make_branch() for _ in range(settings.blocks)])
        return ODEBlock(theta, FixedSteps(solver, settings.per_piece), method)

    form = {"widths": settings.widths, "stem_stride": settings.stem_stride, "activation": "pre", "norm": group_norm}
    return cifar_resnet(settings.blocks + 1, data.num_classes, data.in_channels, flow=flow, **form)


def table(record: Record) -> list[dict[str, str]]:
    """Return a row for each method: error and costs with the most steps, and the accuracy of the trained net."""
    steps, conv = record.settings["steps"][-1], record.settings["conv_steps"][-1]
    rows = [{"method": name} for name in METHODS]
    for row, name in zip(rows, METHODS, strict=True):
        for key, of in ((f"steps/{name}/{steps}", f"{steps} steps"), (f"conv/{name}/{conv}", f"conv, {conv}")):
            result = record.results[key]
            row[f"error, {of}"] = f"{result['error']:.0e}"
            row[f"MB, {of}"] = f"{result['megabytes']:.2f}"
            row[f"ms, {of}"] = f"{1e3 * result['seconds']:.0f}"
        row["accuracy %"] = spread([100 * share for share in over_seeds(record.results, name, "accuracy")])
    return rows


EXPERIMENT = Experiment("gradient_methods", PRESETS, on_images(gradient_methods))
if __name__ == "__main__":
    EXPERIMENT.main()
