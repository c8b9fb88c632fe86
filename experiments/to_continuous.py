"""From ResNet to ODE-Net: what does it cost to make the depth continuous, and what does it gain?

Between the same trunk and head (Chen et al. 2018, table 1, with ablations):

- no_flow: nothing;
- one_layer: one residual block, which has about the parameters of the ODE-Net;
- res_net: six residual blocks;
- rk_net: x′ = F(x, t; θ) on [0, 1] by fixed steps of RK4, backpropagation through them;
- ode_net: the same F by dopri5 under error control, the continuous adjoint;
- ode_net_exact: the same, with the exact gradient of the accepted steps (`Checkpointed`; ACA of Zhuang et al. 2020).

Of each: test error, parameters, evaluations of F forwards and backwards in each epoch; memory and seconds of a training
step, side by side on the trained nets. One seed trains the ODE-Net at other tolerances too; then every trained ODE-Net
is solved at all tolerances (figure 3). GroupNorm throughout, two channels a group: no running statistics.

    python -m experiments.to_continuous cpu    # Fashion-MNIST, 10,000 images, 16 channels: 25 minutes on one core
    python -m experiments.to_continuous gpu    # all of it, 64 channels, 8 epochs: one GPU

Expected (Chen et al., MNIST, 160 epochs): ResNet 0.41 %, 0.60 M parameters; RK-Net 0.47 %, ODE-Net 0.42 %, 0.22 M; the
ODE-Net's memory O(1), half as many evaluations backwards as forwards, more of them as training goes on. In 5 epochs on
Fashion-MNIST all errors are larger, and nets with a flow should be within the spread of seeds of each other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Any

import torch
from torch import nn

from experiments.support.command import Experiment, Settings, on_images
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
    """Of the flow's state, an even number."""
    blocks: int = 6
    """Of the ResNet."""
    rk_steps: int = 2
    """Of the RK-Net, each with four evaluations."""
    tolerance: float = 1e-3
    """Of the ODE-Nets in training, relative and absolute (Chen et al.'s code)."""
    training_tolerances: tuple[float, ...] = (1e-1, 1e-2)
    """At which ODE-Nets are trained besides, with the first seed."""
    tolerances: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
    """At which the trained ODE-Nets are solved."""
    probe_images: int = 64
    """In the batch on which costs are measured."""
    test_images: int = 2000
    """On which the trained ODE-Nets are tested at each tolerance."""
    repetitions: int = 7
    """Of what is timed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels % 2:
            raise ValueError(
                f"channels = {self.channels}; they are normalized two by two: pass an even number of 2 or more."
            )


TRAINING = Training(epochs=5, batch_size=64, optimizer="sgd", weight_decay=0.0, threads=1)
"""Chen et al.'s optimizer and learning rate; the schedule is short and warms up."""

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
    "cpu": ToContinuous(train_images=10_000, seeds=(0, 1), channels=16, augment=False, training=TRAINING),
    "gpu": ToContinuous(
        seeds=(0, 1), probe_images=128, training=replace(TRAINING, epochs=8, batch_size=512, lr=0.4, threads=None)
    ),
}


def to_continuous(settings: ToContinuous, data: ImageData, run: Run) -> None:
    """Train every net, solve the ODE-Nets at other tolerances, and compare what a training step costs."""
    first = settings.seeds[0]
    for seed in settings.seeds:
        others = settings.training_tolerances if seed == first else ()
        names = (*NETS, *(f"ode_net@{tolerance:g}" for tolerance in others))
        nets = {name: _trained(name, settings, data, seed, run) for name in names}
        for name in names:
            if name.startswith("ode_net"):
                run.once(f"seed{seed}/{name}/tolerances", lambda net=nets[name]: _solved(net, settings, data))
        if seed == first:
            run.once("costs", lambda nets=nets: _costs(nets, settings, data))
    run.finish(table=table(run.record))


def network(name: str, settings: ToContinuous, data: ImageData) -> FlowClassifier:
    """The net called `name`; "ode_net@0.1" is the ODE-Net of that tolerance."""
    kind, _, tolerance = name.partition("@")
    adaptive, channels = dopri5(float(tolerance or settings.tolerance)), settings.channels

    def residual(blocks: int) -> ODEBlock:
        return ODEBlock(PiecewiseConstant([BasicBranch(channels, norm=two_a_group) for _ in range(blocks)]))

    def vector_field() -> Constant:
        return Constant(ConcatConvBranch(channels, norm=two_a_group))

    flows = {
        "no_flow": nn.Identity,
        "one_layer": lambda: residual(1),
        "res_net": lambda: residual(settings.blocks),
        "rk_net": lambda: ODEBlock(vector_field(), FixedSteps(RK4(), settings.rk_steps)),
        "ode_net": lambda: ODEBlock(vector_field(), adaptive, ContinuousAdjoint()),
        "ode_net_exact": lambda: ODEBlock(vector_field(), adaptive, Checkpointed()),
    }
    return FlowClassifier(flows[kind](), data.num_classes, data.in_channels, channels, two_a_group)


def two_a_group(channels: int) -> nn.GroupNorm:
    """GroupNorm of two channels a group, as Chen et al.'s 32 groups of 64 (in groups of one, no mean would survive)."""
    return nn.GroupNorm(channels // 2, channels)


def _trained(name: str, settings: ToContinuous, data: ImageData, seed: int, run: Run) -> FlowClassifier:
    """A net, trained or read back, its error and evaluations in the record."""
    torch.manual_seed(seed)
    key, net, epochs = f"seed{seed}/{name}", network(name, settings, data), settings.training.epochs
    with counted(net, epochs * (len(data.train) // settings.training.batch_size)) as counts:
        history = train(net, key, settings, data, seed, run)
    facts = {"parameters": count_parameters(net), "test_error": 1 - history.last["test_accuracy"]}
    run.once(key, lambda: facts | {"history": history.rows, "evaluations": counts.per_epoch(epochs)})
    return net


def _solved(net: FlowClassifier, settings: ToContinuous, data: ImageData) -> dict[str, Any]:
    sizes = settings.probe_images, settings.test_images, settings.repetitions
    return {"rows": at_tolerances(net, data, settings.tolerances, *sizes)}


def _costs(nets: dict[str, FlowClassifier], settings: ToContinuous, data: ImageData) -> dict[str, Any]:
    device = next(nets["ode_net"].parameters()).device
    images, labels = next(data.train_batches(settings.probe_images, augment=False, device=device).epoch(0))
    return costs({name: nets[name] for name in NETS}, images, labels, settings.repetitions)


def table(record: Record) -> list[dict[str, str]]:
    """A row for each net: means and standard deviations over the seeds, medians of the times."""
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
