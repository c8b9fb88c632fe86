"""What happens if you take more layers and smaller steps?

The main job. A pre-activation ResNet is Euler's method on x′ = F(x; θ(t)), with h = 1. On the same horizon T it is
given 2, 4 and 8 times the layers with h = 1/2, 1/4, 1/8, in three ways:

- scratch: a net of that many layers trained from random weights;
- refined: the same net started from the trained coarser one, every layer twice with half the step (Chang et al. 2018);
  at 8N layers 1.9 times the work, with the coarser nets' epochs (`multilevel_training` compares equal epochs);
- steps: the trained coarsest net, its θ(t) untouched, solved with smaller steps.

Every net is then solved by dopri5 with the weights that it has (an ODE-Net), and its final state is compared with the
finest solution of its own vector field: `distance` is the relative discretization error, 0 for a net that *is* a flow.

    python -m experiments.depth_refinement demo --jobs auto   # digits: 2 minutes on two cores, no download (make demo)
    python -m experiments.depth_refinement cpu                # Fashion-MNIST: 40 minutes on one core
    python -m experiments.depth_refinement gpu    # at 28×28, N = 2, 8 epochs (full: 20): 83 s a seed on an H100

Expected: accuracy rises little with depth (Chang et al. 2018: 9.75 % error with 14 layers, 7.58 % with 50 on CIFAR-10);
the distance falls as the layers of a refined net do their work in smaller steps; and the coarsest net gets *worse* when
it is solved more accurately: trained with h = 1, it has learned its solver's error too. Seen: as expected, but that in
one epoch of Fashion-MNIST depth alone gains nothing (87.6 ± 0.1 % with 8 layers, 87.2 ± 0.3 % with 36).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from experiments.support.command import Experiment, Settings, on_images
from experiments.support.own_flow import FlowLater
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
    """N: Euler steps in the flow of each stage of the coarsest net; T = N, so that h = 1 there."""
    widths: tuple[int, ...] = (16, 32)
    """Channels of each stage."""
    stem_stride: int = 2
    """2 halves the image at once: a quarter of the work."""


@dataclass(frozen=True)
class DepthRefinement(Levels):
    """Settings of the experiment."""

    levels: int = 4
    """How many nets."""
    tolerance: float = 1e-3
    """Of dopri5, relative and absolute (Chen et al. 2018, released code)."""
    probe_images: int = 1000
    """Test images on which the ODE-Nets and distances are measured."""


DIGITS = DepthRefinement(
    data="digits", stem_stride=1, probe_images=360, training=Training(epochs=12, batch_size=64, threads=1)
)
"""1,437 images of 8×8 pixels: an epoch is 22 steps, too small for a second thread to help."""

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
GPU_SECONDS = 83  # for a seed of the preset gpu on an H100, estimated


def depth_refinement(settings: DepthRefinement, data: ImageData, run: PartedRun) -> None:
    """Train every net of every seed, measure it, and draw up the table."""
    # A net from scratch waits for no other; those that begin with a coarser one are a part with it. The longest first.
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
    """The coarsest net, the same with h/2, h/4, … (nothing is trained), and each finer net from the one before."""
    torch.manual_seed(seed)
    net = network(settings, data, 0)
    coarser = coarsest = _recorded(f"seed{seed}/scratch/level0", lambda: net, settings, data, seed, run)
    for level in range(1, settings.levels):
        run.once(f"seed{seed}/steps/level{level}", partial(_with_steps, coarsest, 2**level))
    for level in range(1, settings.levels):
        refined = partial(lambda coarser: refine_theta(refine_steps(coarser.net)), coarser)
        coarser = _recorded(f"seed{seed}/refined/level{level}", refined, settings, data, seed, run)


def network(settings: Levels, data: ImageData, level: int) -> ResNet:
    """The net of N·2^level Euler steps a stage on the horizon T = N."""

    def flow(make_branch: Callable[[], nn.Module], _blocks: int, _projection: object) -> ODEBlock:
        pieces = settings.blocks * 2**level
        return ODEBlock(PiecewiseConstant([make_branch() for _ in range(pieces)], horizon=settings.blocks))

    return cifar_resnet(
        settings.blocks + 1,  # one of them is the transition
        data.num_classes,
        data.in_channels,
        widths=settings.widths,
        stem_stride=settings.stem_stride,
        activation="pre",
        flow=flow,
    )


def _recorded(
    key: str, make: Callable[[], ResNet], settings: DepthRefinement, data: ImageData, seed: int, run: Run
) -> FlowLater:
    """Record what the net of `make` can do once it is trained."""
    later = FlowLater(make, key, settings, data, seed, run)

    def result() -> dict[str, Any]:
        history = later.history
        facts = {"accuracy": history.last["test_accuracy"], "seconds_per_epoch": history.seconds_per_epoch}
        return facts | later.own_flow.beside(later.net, data.num_classes) | {"history": history.rows}

    run.once(key, result)
    return later


def _with_steps(coarsest: FlowLater, times: int) -> dict[str, Any]:
    finer, classes = refine_steps(coarsest.net, times), coarsest.data.num_classes
    scores = evaluate(finer, Classification(classes), on_test_images(finer, coarsest.data))
    return {"accuracy": scores["accuracy"]} | coarsest.own_flow.beside(finer, classes)


def table(record: Record) -> list[dict[str, Any]]:
    """A row for each kind of net and number of layers: means and standard deviations over the seeds."""
    keys = sorted(dict.fromkeys(name.partition("/")[2] for name in record.results), key=_place)
    return [_row(key, lambda entry, key=key: over_seeds(record.results, key, entry)) for key in keys]


def _place(key: str) -> tuple[int, int]:
    """The more layers, the lower; from scratch above those that begin with another net."""
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
