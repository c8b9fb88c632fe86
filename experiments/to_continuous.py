"""From ResNet to ODE-Net: what does it cost to make the depth continuous, and what does it gain?

Six nets are compared, which differ only between stem and head (Chen et al. 2018, table 1, with ablations):

- no_flow: nothing;
- one_layer: one residual block, which has about the parameters of the ODE-Net;
- res_net: six residual blocks;
- rk_net: x′ = F(x, t; θ) on [0, 1] by fixed steps of RK4, with backpropagation through them;
- ode_net: the same F by dopri5 under error control, with the continuous adjoint;
- ode_net_exact: the same, with the exact gradient of the accepted steps (`Checkpointed`; ACA of Zhuang et al. 2020).

Measured are test error, parameters, evaluations of F in the forward and backward passes of each epoch, and memory and
seconds of a training step. With the first seed, the ODE-Net is also trained at other tolerances. Every trained ODE-Net
is solved at all tolerances (figure 3). GroupNorm, with two channels a group, needs no running statistics.

    python -m experiments.to_continuous cpu    # Fashion-MNIST, 10,000 images, 16 channels: 60 minutes on one core
    python -m experiments.to_continuous gpu    # all of it, 64 channels, 4 epochs (full: 8): 100 s a seed on an H100

Expected (Chen et al., MNIST, 160 epochs): ResNet 0.41 %, 0.60 M parameters; RK-Net 0.47 %, ODE-Net 0.42 %, 0.22 M. The
ODE-Net has memory O(1), half as many backward as forward evaluations, and more of them as training goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from statistics import fmean, median
from typing import Any

import torch
from torch import nn

from experiments.support.command import Experiment, Settings, on_images
from experiments.support.presets import ON_A_GPU
from experiments.support.statistics import over_seeds, spread
from experiments.support.tolerances import at_tolerances, dopri5
from experiments.support.training import train
from experiments.support.training_steps import costs, counted
from odenet import (
    RK4,
    BasicBranch,
    Checkpointed,
    ConcatConvBranch,
    Constant,
    ContinuousAdjoint,
    FixedSteps,
    ODEBlock,
    PiecewiseConstant,
)
from odenet.data import ImageData
from odenet.measure import count_parameters
from odenet.models.odenet import FlowClassifier
from odenet.training import Record, Run, Training

NETS = ("no_flow", "one_layer", "res_net", "rk_net", "ode_net", "ode_net_exact")


@dataclass(frozen=True)
class ToContinuous(Settings):
    """Settings of the experiment."""

    channels: int = 64
    """Number of channels of the flow's state, which must be even."""
    blocks: int = 6
    """Number of residual blocks of the ResNet."""
    rk_steps: int = 2
    """Number of steps of the RK-Net, each of four evaluations."""
    tolerance: float = 1e-3
    """Relative and absolute tolerance of the ODE-Nets in training (code of Chen et al.)."""
    training_tolerances: tuple[float, ...] = (1e-1, 1e-2)
    """Other tolerances at which ODE-Nets are trained, with the first seed only."""
    tolerances: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
    """Tolerances at which the trained ODE-Nets are solved."""
    probe_images: int = 64
    """Number of images in the batch on which costs are measured."""
    test_images: int = 2000
    """Number of images on which the trained ODE-Nets are tested at each tolerance."""
    repetitions: int = 7
    """Number of repetitions of each timing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels % 2:
            raise ValueError(
                f"channels must be even, got {self.channels}: a group of GroupNorm has two; give an even number ≥ 2."
            )


TRAINING = Training(epochs=5, batch_size=64, optimizer="sgd", weight_decay=0.0, threads=1)  # as Chen et al., but short
GPU = ToContinuous(seeds=(0, 1, 2, 3, 4), probe_images=128, training=replace(TRAINING, epochs=4, lr=0.4, **ON_A_GPU))
PRESETS = {
    "smoke": ToContinuous(
        data="digits",
        train_images=128,
        seeds=(0,),
        channels=4,
        blocks=2,
        training_tolerances=(1e-1,),
        tolerances=(1e-1, 1e-2),
        probe_images=8,
        test_images=32,
        repetitions=1,
        training=replace(TRAINING, epochs=2),
    ),
    "cpu": ToContinuous(train_images=10_000, seeds=(0, 1, 2, 3, 4), channels=16, augment=False, training=TRAINING),
    "gpu": GPU,
    "full": replace(GPU, training=replace(GPU.training, epochs=8)),
}
GPU_SECONDS = 100  # estimated for one seed of the preset gpu on an H100


def to_continuous(settings: ToContinuous, data: ImageData, run: Run) -> None:
    """Train every net, solve the ODE-Nets at other tolerances, and compare the costs of a training step."""
    first, sizes = settings.seeds[0], (settings.probe_images, settings.test_images, settings.repetitions)
    for seed in settings.seeds:
        names = (*NETS, *(f"ode_net@{tolerance:g}" for tolerance in settings.training_tolerances if seed == first))
        nets = {name: _recorded(name, settings, data, seed, run) for name in names}
        for name in (name for name in names if name.startswith("ode_net")):
            run.once(
                f"seed{seed}/{name}/tolerances",
                lambda net=nets[name]: {"rows": at_tolerances(net(), data, settings.tolerances, *sizes)},
            )
        if seed == first:
            run.once("costs", lambda nets=nets: _costs({name: nets[name]() for name in NETS}, settings, data))
    run.finish(table=table(run.record))


def network(name: str, settings: ToContinuous, data: ImageData) -> FlowClassifier:
    """Build the net called `name`; "ode_net@0.1" is the ODE-Net with that tolerance."""
    kind, _, tolerance = name.partition("@")
    adaptive, channels = dopri5(float(tolerance or settings.tolerance)), settings.channels

    def residual(blocks: int) -> ODEBlock:
        return ODEBlock(PiecewiseConstant([BasicBranch(channels, norm=two_a_group) for _ in range(blocks)]))

    field = partial(ConcatConvBranch, channels, norm=two_a_group)
    flows = {
        "no_flow": nn.Identity,
        "one_layer": lambda: residual(1),
        "res_net": lambda: residual(settings.blocks),
        "rk_net": lambda: ODEBlock(Constant(field()), FixedSteps(RK4(), settings.rk_steps)),
        "ode_net": lambda: ODEBlock(Constant(field()), adaptive, ContinuousAdjoint()),
        "ode_net_exact": lambda: ODEBlock(Constant(field()), adaptive, Checkpointed()),
    }
    return FlowClassifier(flows[kind](), data.num_classes, data.in_channels, channels, two_a_group)


def two_a_group(channels: int) -> nn.GroupNorm:
    """Build GroupNorm with two channels per group, as in Chen et al. (with one per group, all means would be lost)."""
    return nn.GroupNorm(channels // 2, channels)


def _recorded(name: str, settings: ToContinuous, data: ImageData, seed: int, run: Run) -> Callable[[], FlowClassifier]:
    """Record error and evaluations of a net; return a function that trains it or reads it back at its first call."""
    torch.manual_seed(seed)
    key, net, epochs = f"seed{seed}/{name}", network(name, settings, data), settings.training.epochs

    @cache
    def trained() -> tuple[FlowClassifier, dict[str, Any]]:
        with counted(net, epochs * (len(data.train) // settings.training.batch_size)) as counts:
            history = train(net, key, settings, data, seed, run)
        facts = {"parameters": count_parameters(net), "test_error": 1 - history.last["test_accuracy"]}
        return net, facts | {"history": history.rows, "evaluations": counts.per_epoch(epochs)}

    run.once(key, lambda: trained()[1])
    return lambda: trained()[0]


def _costs(nets: dict[str, FlowClassifier], settings: ToContinuous, data: ImageData) -> dict[str, Any]:
    device = next(nets["ode_net"].parameters()).device
    batches = data.train_batches(settings.probe_images, augment=False, device=device)
    return costs(nets, *next(batches.epoch(0)), settings.repetitions)


def table(record: Record) -> list[dict[str, str]]:
    """Return a row for each net: means and standard deviations over the seeds, and medians of the times."""
    names = [name for key in record.results if (name := key.partition("/")[2]) and not name.endswith("/tolerances")]
    return [_row(name, record) for name in dict.fromkeys(names)]


def _row(name: str, record: Record) -> dict[str, str]:
    results, costs = record.results, record.results["costs"]
    evaluations = over_seeds(results, name, "evaluations")
    timed = name in costs["seconds"]
    return {
        "net": name,
        "params": f"{over_seeds(results, name, 'parameters')[0]:,}",
        "test error %": spread([100 * error for error in over_seeds(results, name, "test_error")]),
        "MB, step": f"{costs['bytes'][name] / 1e6:.1f}" if timed else "",
        "MB, flow": f"{costs['flow_bytes'][name] / 1e6:.2f}" if timed else "",
        "ms, step": f"{1e3 * median(costs['seconds'][name]):.0f}" if timed else "",
        "evaluations": f"{fmean(e['forward'][-1] for e in evaluations):.0f}",
        "backwards": f"{fmean(e['backward'][-1] for e in evaluations):.0f}",
    }


EXPERIMENT = Experiment("to_continuous", PRESETS, on_images(to_continuous))
if __name__ == "__main__":
    EXPERIMENT.main()
