"""What happens if you take more layers and smaller steps?

This is the main experiment. A pre-activation ResNet is Euler's method on x′ = F(x; θ(t)), with h = 1. On the same
horizon T it is given 2, 4, … times the layers with h = 1/2, 1/4, …, in two ways:

- scratch: a net of that many layers is trained from random weights;
- refined: the net is started from the trained coarser one, each layer doubled and its step halved (Chang et al. 2018).

The trained coarsest net is also solved with smaller steps, its θ(t) unchanged, and every net is compared with the
flow of its own vector field, solved nearly exactly: the accuracy of both, the agreement of their answers, and the
distance of their final states, on all test images. The nets are crossed over what was confounded with depth before:

- BatchNorm, with the running statistics of its training and with recalibrated statistics; or GroupNorm;
- layers that begin independent, or equal;
- one learning rate for all depths, or the rate of the flows × 1/h.

    python -m experiments.depth_refinement demo --jobs auto   # digits: 2 minutes on two cores, no download (make demo)
    python -m experiments.depth_refinement cpu --jobs auto    # Fashion-MNIST: an hour on two cores
    python -m experiments.depth_refinement gpu    # at 28×28, N = 2, 3 epochs (full: 20): 115 s a seed on an H100

Expected: accuracy rises little with depth (Chang et al. 2018: 9.75 % error with 14 layers, 7.58 % with 50 on CIFAR-10),
and more with the scaled rate; the coarsest net loses accuracy when it is solved more finely, but most of that loss
vanishes with recalibrated statistics and with GroupNorm; a net is the closer to its flow the smaller its h, and closest
if its layers begin equal or are refined. Seen (three seeds): 87.5 % become 18 % as a flow, and 69 % with recalibrated
statistics; depth gains nothing from scratch, and 2.4 points by refinement, which also brings a net nearest to its flow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from experiments.support.command import Experiment, on_images
from experiments.support.crossed import Cell, Crossed, Rates, crossed_net, with_rates
from experiments.support.deployment import Answered, compare_steppings, near_exact
from experiments.support.parts import PartedRun
from experiments.support.presets import ON_A_GPU
from experiments.support.statistics import over_seeds, spread
from experiments.support.training import LazyTraining
from odenet import Euler, FixedSteps, refine_steps, refine_theta
from odenet.data import ImageData
from odenet.measure import count_layers, count_parameters
from odenet.models import ResNet
from odenet.training import Record, Run, Training


@dataclass(frozen=True)
class DepthRefinement(Crossed):
    """Settings of an experiment with nets of N, 2N, 4N, … Euler steps a stage on the horizon T = N."""

    blocks: int = 1
    """Number N of Euler steps in the flow of each stage of the coarsest net; T = N, so that h = 1 there."""
    levels: int = 3
    """Number of depths: N, 2N, 4N, … steps a stage."""
    rates: tuple[Rates, ...] = ("one", "scaled")
    """Learning rates of the flows: the same at every depth, or multiplied by 1/h."""


DIGITS = DepthRefinement(
    data="digits",
    stem_stride=1,
    seeds=(0, 1, 2),
    initializations=("independent",),
    rates=("one",),
    recalibration_images=1000,
    training=Training(epochs=12, batch_size=64, threads=1),
)
"""Settings for 1,437 images of 8×8 pixels: one thread, since an epoch of 22 steps gains nothing from a second."""

GPU = DepthRefinement(blocks=2, widths=(16, 32, 64), stem_stride=1, training=Training(epochs=3, lr=0.4, **ON_A_GPU))

PRESETS = {
    "smoke": replace(
        DIGITS,
        train_images=256,
        seeds=(0,),
        initializations=("independent", "tied"),
        rates=("one", "scaled"),
        levels=2,
        widths=(4, 8),
        recalibration_images=64,
        training=replace(DIGITS.training, epochs=1),
    ),
    "demo": DIGITS,
    "cpu": DepthRefinement(augment=False, training=Training(epochs=1, batch_size=64, lr=0.2, threads=1, compile=True)),
    "gpu": GPU,
    "full": replace(GPU, training=replace(GPU.training, epochs=20)),
}
GPU_SECONDS = 115  # estimated for one seed of the preset gpu on an H100


def depth_refinement(settings: DepthRefinement, data: ImageData, run: PartedRun) -> None:
    """Train and measure every net for every seed, and make the table."""
    # A net from scratch needs no other net; a net that starts from a coarser one is in one part with it. Longest first.
    parts = [
        partial(_refined, settings, data, seed, cell) for seed in settings.seeds for cell in coarse_cells(settings)
    ]
    for level in reversed(range(1, settings.levels)):
        for seed in settings.seeds:
            parts += [partial(_from_scratch, settings, data, seed, cell, level) for cell in cells(settings)]
    run.each(parts)
    run.finish(table=table(run.record))


def cells(settings: DepthRefinement) -> Iterator[Cell]:
    """Yield the choices of the factors for the nets from scratch."""
    for normalization in settings.normalizations:
        for initialization in settings.initializations:
            for rates in settings.rates:
                yield Cell(normalization, initialization, rates=rates)


def coarse_cells(settings: DepthRefinement) -> list[Cell]:
    """Return the choices that differ for the coarsest net: its h is 1, and a single layer has no neighbours."""
    coarse = (replace(cell, rates="one") for cell in cells(settings))
    if settings.blocks == 1:
        coarse = (replace(cell, initialization="independent") for cell in coarse)
    return list(dict.fromkeys(coarse))


def _from_scratch(settings: DepthRefinement, data: ImageData, seed: int, cell: Cell, level: int, run: Run) -> None:
    make = partial(_network, settings, data, seed, cell, level)
    key = f"seed{seed}/{cell}/scratch/level{level}"
    _recorded(LazyTraining(make, key, with_rates(settings, cell), data, seed, run), settings, run)


def _network(settings: DepthRefinement, data: ImageData, seed: int, cell: Cell, level: int) -> ResNet:
    torch.manual_seed(seed)
    return crossed_net(settings, data, settings.blocks * 2**level, settings.blocks, cell)


def _refined(settings: DepthRefinement, data: ImageData, seed: int, cell: Cell, run: Run) -> None:
    """Train the coarsest net, solve it with h/2, h/4, …, and train each finer net, started from the one before."""
    make = partial(_network, settings, data, seed, cell, 0)
    coarsest = LazyTraining(make, f"seed{seed}/{cell}/scratch/level0", settings, data, seed, run)
    _recorded(coarsest, settings, run)
    for rates in settings.rates:
        chosen, coarser = replace(cell, rates=rates), coarsest
        for level in range(1, settings.levels):
            make = partial(lambda coarser: refine_theta(refine_steps(coarser.net)), coarser)
            key = f"seed{seed}/{chosen}/refined/level{level}"
            coarser = LazyTraining(make, key, with_rates(settings, chosen), data, seed, run)
            _recorded(coarser, settings, run)


def _recorded(later: LazyTraining[ResNet], settings: DepthRefinement, run: Run) -> None:
    """Record the size of a net, its history, and its answers as it was trained, with smaller steps, and as a flow."""
    finer = settings.levels if later.key.endswith("level0") else 1

    def result() -> dict[str, Any]:
        net, history = later.net, later.history
        ways = {"flow": near_exact(net)} | {f"euler×{2**k}": FixedSteps(Euler(), per_piece=2**k) for k in range(finer)}
        return {
            "layers": count_layers(net),
            "parameters": count_parameters(net),
            "seconds_per_epoch": history.seconds_per_epoch,
            "answers": compare_steppings(net, ways, later.data, settings.recalibration_images),
            "history": history.rows,
        }

    run.once(later.key, result)


def table(record: Record) -> list[dict[str, Any]]:
    """Return a row for each kind of net and statistics: means and standard deviations over the seeds."""
    keys = dict.fromkeys(name.partition("/")[2] for name in record.results)
    return [row for key in keys for row in _rows(record, key)]


def _rows(record: Record, key: str) -> Iterator[dict[str, Any]]:
    """Yield a row for each kind of statistics of a kind of net."""
    answers: list[Answered] = over_seeds(record.results, key, "answers")
    cell, kind, level = key.split("/")
    normalization, initialization, _, rates = cell.split("-")
    for statistics in answers[0]:

        def percent(way: str, entry: str, statistics: str = statistics) -> str:
            return spread([100 * found[statistics][way][entry] for found in answers])

        yield {
            "net": kind,
            "layers": over_seeds(record.results, key, "layers")[0],
            "h": 0.5 ** int(level.removeprefix("level")),
            "norm": normalization if statistics == "none" else f"{normalization}, {statistics}",
            "layers begin": initialization,
            "rate": rates,
            "accuracy %": percent("euler×1", "accuracy"),
            "as flow %": percent("flow", "accuracy"),
            "agreement %": percent("euler×1", "agreement"),
            "distance %": percent("euler×1", "distance"),
        }


EXPERIMENT = Experiment("depth_refinement", PRESETS, on_images(depth_refinement), parted=True)
if __name__ == "__main__":
    EXPERIMENT.main()
