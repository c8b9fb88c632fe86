"""What happens if you take more layers and smaller steps?

This is the main experiment. A pre-activation ResNet is Euler's method on x′ = F(x; θ(t)), with h = 1. On the same
horizon T it is given 2, 4 and 8 times the layers with h = 1/2, 1/4, 1/8, in three ways:

- scratch: a net of that many layers is trained from random weights;
- refined: the net is started from the trained coarser one, each layer doubled and its step halved (Chang et al. 2018);
  8N layers take 1.9 times the work, the coarser nets' epochs included (`multilevel_training` compares equal epochs);
- steps: the trained coarsest net is solved with smaller steps, its θ(t) unchanged.

Every net is then solved by dopri5 with its own weights (an ODE-Net), and its final state is compared with the finest
solution of its own vector field: `distance` is the relative discretization error, 0 for a net that *is* a flow.

    python -m experiments.depth_refinement demo --jobs auto   # digits: 2 minutes on two cores, no download (make demo)
    python -m experiments.depth_refinement cpu                # Fashion-MNIST: 40 minutes on one core
    python -m experiments.depth_refinement gpu    # at 28×28, N = 2, 8 epochs (full: 20): 83 s a seed on an H100

Expected: accuracy rises little with depth (Chang et al. 2018: 9.75 % error with 14 layers, 7.58 % with 50 on CIFAR-10);
the distance of refined nets falls, because their layers do the same work in smaller steps; and the coarsest net gets
*worse* when it is solved more accurately: trained with h = 1, it has learned its solver's error too. Seen: as expected,
except that one epoch of Fashion-MNIST gains nothing from depth (87.6 ± 0.1 % with 8 layers, 87.2 ± 0.3 % with 36).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from experiments.support.command import Experiment, Settings, on_images
from experiments.support.own_flow import LazyFlow
from experiments.support.parts import PartedRun
from experiments.support.presets import ON_A_GPU
from experiments.support.statistics import over_seeds, spread
from experiments.support.training import on_test_images
from odenet import ODEBlock, PiecewiseConstant, refine_steps, refine_theta
from odenet.data import ImageData
from odenet.models import ResNet, cifar_resnet
from odenet.training import Classification, Record, Run, Training, evaluate


@dataclass(frozen=True)
class Levels(Settings):
    """Settings of an experiment with nets of N, 2N, 4N, … Euler steps a stage on the horizon T = N."""

    blocks: int = 1
    """Number N of Euler steps in the flow of each stage of the coarsest net; T = N, so that h = 1 there."""
    widths: tuple[int, ...] = (16, 32)
    """Channels of each stage."""
    stem_stride: int = 2
    """Stride of the first convolution; with 2, which halves the image, a net takes a quarter of the operations."""


@dataclass(frozen=True)
class DepthRefinement(Levels):
    """Settings of the experiment."""

    levels: int = 4
    """Number of nets: with N, 2N, 4N, … steps a stage."""
    tolerance: float = 1e-3
    """Relative and absolute tolerance of dopri5 (Chen et al. 2018, released code)."""
    probe_images: int = 1000
    """Number of test images on which the ODE-Nets and distances are measured."""


DIGITS = DepthRefinement(
    data="digits", stem_stride=1, probe_images=360, training=Training(epochs=12, batch_size=64, threads=1)
)
"""Settings for 1,437 images of 8×8 pixels: one thread, since an epoch of 22 steps gains nothing from a second."""

GPU = DepthRefinement(blocks=2, widths=(16, 32, 64), stem_stride=1, training=Training(epochs=8, lr=0.4, **ON_A_GPU))

PRESETS = {
    "smoke": replace(
        DIGITS,
        train_images=256,
        seeds=(0,),
        levels=2,
        widths=(4, 8),
        probe_images=64,
        training=replace(DIGITS.training, epochs=1),
    ),
    "demo": DIGITS,
    "cpu": DepthRefinement(augment=False, training=Training(epochs=1, batch_size=64, lr=0.2, threads=1)),
    "gpu": GPU,
    "full": replace(GPU, training=replace(GPU.training, epochs=20)),
}
GPU_SECONDS = 83  # estimated for one seed of the preset gpu on an H100


def depth_refinement(settings: DepthRefinement, data: ImageData, run: PartedRun) -> None:
    """Train and measure every net for every seed, and make the table."""
    # A net from scratch needs no other net; a net that starts from a coarser one is in one part with it. Longest first.
    parts = [partial(_refined, settings, data, seed) for seed in settings.seeds]
    for level in reversed(range(1, settings.levels)):
        parts += [partial(_from_scratch, settings, data, seed, level) for seed in settings.seeds]
    run.each(parts)
    run.finish(table=table(run.record))


def _from_scratch(settings: DepthRefinement, data: ImageData, seed: int, level: int, run: Run) -> None:
    torch.manual_seed(seed)
    net = network(settings, data, level)
    _recorded(f"seed{seed}/scratch/level{level}", lambda: net, settings, data, seed, run)


def _refined(settings: DepthRefinement, data: ImageData, seed: int, run: Run) -> None:
    """Train the coarsest net, solve it with h/2, h/4, …, and train each finer net, started from the one before."""
    torch.manual_seed(seed)
    net = network(settings, data, 0)
    coarser = coarsest = _recorded(f"seed{seed}/scratch/level0", lambda: net, settings, data, seed, run)
    for level in range(1, settings.levels):
        run.once(f"seed{seed}/steps/level{level}", partial(_with_steps, coarsest, 2**level))
    for level in range(1, settings.levels):
        refined = partial(lambda coarser: refine_theta(refine_steps(coarser.net)), coarser)
        coarser = _recorded(f"seed{seed}/refined/level{level}", refined, settings, data, seed, run)


def network(settings: Levels, data: ImageData, level: int) -> ResNet:
    """Build the net of N·2^level Euler steps a stage on the horizon T = N."""

    def flow(make_branch: Callable[[], nn.Module], _blocks: int, _projection: object) -> ODEBlock:
        pieces = settings.blocks * 2**level
        return ODEBlock(PiecewiseConstant([make_branch() for _ in range(pieces)], horizon=settings.blocks))

    return cifar_resnet(
        settings.blocks + 1,  # the first block of a stage is its transition
        data.num_classes,
        data.in_channels,
        widths=settings.widths,
        stem_stride=settings.stem_stride,
        activation="pre",
        flow=flow,
    )


def _recorded(
    key: str, make: Callable[[], ResNet], settings: DepthRefinement, data: ImageData, seed: int, run: Run
) -> LazyFlow:
    """Record the accuracy of the net that `make` builds, and its distance from its flow, after its training."""
    later = LazyFlow(make, key, settings, data, seed, run)

    def result() -> dict[str, Any]:
        history = later.history
        facts = {"accuracy": history.last["test_accuracy"], "seconds_per_epoch": history.seconds_per_epoch}
        return facts | later.own_flow.compare(later.net, data.num_classes) | {"history": history.rows}

    run.once(key, result)
    return later


def _with_steps(coarsest: LazyFlow, times: int) -> dict[str, Any]:
    """Measure the trained coarsest net with `times` as many steps."""
    finer, classes = refine_steps(coarsest.net, times), coarsest.data.num_classes
    scores = evaluate(finer, Classification(classes), on_test_images(finer, coarsest.data))
    return {"accuracy": scores["accuracy"]} | coarsest.own_flow.compare(finer, classes)


def table(record: Record) -> list[dict[str, Any]]:
    """Return a row for each kind of net and number of layers: means and standard deviations over the seeds."""
    keys = sorted(dict.fromkeys(name.partition("/")[2] for name in record.results), key=_order)
    return [_row(key, lambda entry, key=key: over_seeds(record.results, key, entry)) for key in keys]


def _order(key: str) -> tuple[int, int]:
    """Return the sort key of a row: by number of layers, and then scratch, steps, refined."""
    kind, _, level = key.partition("/level")
    return (0 if kind == "steps" else int(level), ["scratch", "steps", "refined"].index(kind))


def _row(key: str, values: Callable[[str], list[float]]) -> dict[str, Any]:
    percent = {name: [100 * value for value in values(name)] for name in ("accuracy", "ode_accuracy", "distance")}
    return {
        "net": key.partition("/")[0],
        "layers": values("layers")[0],
        "h": values("step")[0],
        "params": f"{values('parameters')[0]:,}",
        "evals": values("evaluations")[0],
        "accuracy %": spread(percent["accuracy"]),
        "as ODE %": spread(percent["ode_accuracy"]),
        "distance %": spread(percent["distance"]),
        "s/epoch": spread(values("seconds_per_epoch")) if not key.startswith("steps") else "–",
    }


EXPERIMENT = Experiment("depth_refinement", PRESETS, on_images(depth_refinement), parted=True)
if __name__ == "__main__":
    EXPERIMENT.main()
