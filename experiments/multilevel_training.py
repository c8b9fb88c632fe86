"""Does it save time to train a coarse net first and to refine it, and at what accuracy?

Multi-level training (Chang et al. 2018, "Multi-level residual networks from dynamical systems view"): a pre-activation
ResNet of N Euler steps a stage is trained for one cycle of the learning rate; then each layer is doubled and its step
halved, its momentum is divided between the two copies, and the training continues. This is done twice. Four trainings
are compared by test accuracy against seconds, and against evaluations of F in forward passes, which other work on the
machine does not change:

- coarse: the net of N steps in every cycle;
- multilevel: nets of N, 2N and 4N steps, one cycle each;
- deep: the net of 4N steps in every cycle, for the same number of epochs;
- short: the net of 4N steps in one cycle, for as many evaluations as multilevel.

    python -m experiments.multilevel_training cpu    # Fashion-MNIST, 7,000 images: 20 minutes on one core
    python -m experiments.multilevel_training gpu    # all of it at 28×28, three stages: 35 s a seed on an H100

As in the paper, the learning rate falls from 0.5 along a cosine in every cycle, also for the deep net, and the cycles
have 6 : 5 : 5 epochs (there 60, 50 and 50), so that multilevel needs 1 - (6/4 + 5/2 + 5)/16 = 43.75 % fewer evaluations
than deep.

Expected (Chang et al. 2018): multilevel saves 39 to 42 % of the time, since stem, transitions and head cost as much in
a coarse net, with the same or a smaller error (CIFAR-10: 7.10 against 7.58 % with 50 layers, 6.56 against 6.47 % with
122). The paper does not ask which error the deep net reaches in the same time with fewer epochs: `short` does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch.optim import Optimizer

from experiments.support.command import Experiment, on_images
from experiments.support.crossed import Nets, crossed_net
from experiments.support.presets import ON_A_GPU
from experiments.support.statistics import over_seeds, spread
from experiments.support.training import train
from odenet import refine_steps, refine_theta
from odenet.data import ImageData
from odenet.measure import count_layers, count_parameters
from odenet.models import ResNet
from odenet.training import Record, Run, Training, refine_optimizer_state
from odenet.training.optimizers import make_optimizer

Schedule = list[tuple[int, int]]
"""Pairs (level, epochs) for each cycle of the learning rate; a net of that level has N·2^level steps a stage."""


@dataclass(frozen=True)
class MultilevelTraining(Nets):
    """Settings of the experiment; `training.epochs` is replaced by the epochs of each cycle."""

    blocks: int = 1
    """Number N of Euler steps in the flow of each stage of the coarsest net; T = N, so that h = 1 there."""
    cycles: tuple[int, ...] = (6, 5, 5)
    """Number of epochs at each level, from coarse to fine (Chang et al. 2018: 60, 50, 50)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.cycles) < 2 or self.work.denominator > 1:
            raise ValueError(
                f"cycles = {self.cycles} take the work of {self.work} epochs of the finest net, but that net is also "
                "trained for equal work, in whole epochs: give two or more levels whose work is whole, as in 6, 5, 5."
            )

    @property
    def work(self) -> Fraction:
        """Work of the multilevel training: its evaluations in units of an epoch of the finest net."""
        return sum((Fraction(epochs, 2**i) for i, epochs in enumerate(reversed(self.cycles))), Fraction(0))


TRAINING = Training(
    batch_size=100, optimizer="sgd", lr=0.5, weight_decay=2e-4, schedule="cosine", warmup=0.0, threads=1
)
"""Settings of Chang et al. 2018, where the cosine ends at 0.001; here it ends at 0."""

PRESETS = {
    "smoke": MultilevelTraining(
        data="digits",
        train_images=200,
        seeds=(0,),
        widths=(4, 8),
        stem_stride=1,
        cycles=(2, 1, 1),
        training=replace(TRAINING, batch_size=50),
    ),
    "cpu": MultilevelTraining(train_images=7_000, augment=False, training=TRAINING),
    "gpu": MultilevelTraining(
        seeds=(0, 1, 2, 3, 4),
        blocks=2,
        widths=(16, 32, 64),
        stem_stride=1,
        training=replace(TRAINING, **ON_A_GPU),
    ),
}
GPU_SECONDS = 35  # estimated for one seed of the preset gpu on an H100


def multilevel_training(settings: MultilevelTraining, data: ImageData, run: Run) -> None:
    """Train for every seed by every schedule, and make the table."""
    for seed in settings.seeds:
        for name, schedule in schedules(settings).items():
            key = f"seed{seed}/{name}"
            run.once(key, partial(_trained, key, schedule, settings, data, seed, run))
    run.finish(table=table(run.record))


def schedules(settings: MultilevelTraining) -> dict[str, Schedule]:
    """Return the schedules of the four trainings by name."""
    finest = len(settings.cycles) - 1
    return {
        "coarse": [(0, epochs) for epochs in settings.cycles],
        "multilevel": list(enumerate(settings.cycles)),
        "deep": [(finest, epochs) for epochs in settings.cycles],
        "short": [(finest, int(settings.work))],
    }


def _trained(
    key: str, schedule: Schedule, settings: MultilevelTraining, data: ImageData, seed: int, run: Run
) -> dict[str, Any]:
    """Train a net by `schedule`, or read it back, and return its size, accuracy and history."""
    level, rows = schedule[0][0], []
    torch.manual_seed(seed)
    net = crossed_net(settings, data, settings.blocks * 2**level, settings.blocks)
    optimizer = make_optimizer(net, settings.training)
    for cycle, (finer, epochs) in enumerate(schedule):
        for _ in range(level, finer):
            net, optimizer = refined(net, optimizer)
        level = finer
        training = replace(settings.training, epochs=epochs)
        order = seed * len(settings.cycles) + cycle  # so that no two cycles have the same order of images
        now, name = replace(settings, training=training), f"{key}/cycle{cycle}"
        last = cycle == len(schedule) - 1
        history = train(net, name, now, data, order, run, optimizer=optimizer, tested=last)
        rows += [row | {"level": level} for row in history.rows]
    return _result(net, rows, settings, data)


def refined(net: ResNet, optimizer: Optimizer) -> tuple[ResNet, Optimizer]:
    """Refine a net to twice the layers with half the step, and its optimizer, which keeps the momentum."""
    finer = refine_theta(refine_steps(net))
    return finer, refine_optimizer_state(optimizer, net, finer)


def evaluations_per_epoch(settings: MultilevelTraining, level: int, images: int) -> int:
    """Count the evaluations of F in the forward passes of an epoch, in which an incomplete last batch is dropped."""
    used = images - images % settings.training.batch_size
    return settings.blocks * 2**level * len(settings.widths) * used


def _result(net: ResNet, rows: list[dict[str, float]], settings: MultilevelTraining, data: ImageData) -> dict[str, Any]:
    """Return size and accuracy of the trained net, and its history with evaluations and seconds since the start."""
    work = [evaluations_per_epoch(settings, int(row["level"]), len(data.train)) for row in rows]
    sums = zip(accumulate(work), accumulate(row["seconds"] for row in rows), strict=True)
    history = [
        row | {"epoch": epoch, "evaluations": evaluations, "seconds": seconds}
        for epoch, (row, (evaluations, seconds)) in enumerate(zip(rows, sums, strict=True), 1)
    ]
    totals = {name: history[-1][name] for name in ("evaluations", "seconds")}
    size = {"layers": count_layers(net), "parameters": count_parameters(net)}
    return size | totals | {"accuracy": history[-1]["test_accuracy"], "history": history}


def savings(record: Record, key: str, entry: str) -> list[float]:
    """Return 1 - entry/(entry of deep) for each seed of the result "seed…/key"; `entry` is evaluations or seconds."""
    own, deep = (over_seeds(record.results, name, entry) for name in (key, "deep"))
    return [1 - a / b for a, b in zip(own, deep, strict=True)]


def table(record: Record) -> list[dict[str, Any]]:
    """Return a row for each training: means and standard deviations over the seeds."""
    return [_row(record, name) for name in dict.fromkeys(key.partition("/")[2] for key in record.results)]


def _row(record: Record, name: str) -> dict[str, Any]:
    def values(entry: str) -> list[Any]:
        return over_seeds(record.results, name, entry)

    return {
        "training": name,
        "layers": values("layers")[0],
        "epochs": len(values("history")[0]),
        "F evals (M)": values("evaluations")[0] / 1e6,
        "evals saved %": f"{100 * savings(record, name, 'evaluations')[0]:.1f}",
        "seconds": spread(values("seconds")),
        "time saved %": spread([100 * saved for saved in savings(record, name, "seconds")]),
        "accuracy %": spread([100 * accuracy for accuracy in values("accuracy")], 2),
    }


EXPERIMENT = Experiment("multilevel_training", PRESETS, on_images(multilevel_training))
if __name__ == "__main__":
    EXPERIMENT.main()
