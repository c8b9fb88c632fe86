"""Is this network an ODE, or a stack of layers?

This script reports on any checkpoint: a file of `odenet.training.save_model`, or the state dict of a torchvision
ResNet, whose blocks are read as projected Euler steps. Without a checkpoint, it trains nets that are crossed over four
factors (see `experiments.support.crossed`), with L layers and h = 1/L, and reports on them and on controls: a
pre-activation and a post-activation ResNet with h = 1, a constructed flow (8 equal layers with h = 1/64, not trained),
and independent layers with h = 1, not trained. The report answers six questions:

- answers: how far is the final state from that of the flow of the same weights, and how many answers stay, on all test
  images, with the running statistics of BatchNorm and with recalibrated ones?
- solvers: how far does the output move, and does the accuracy stay, with other solvers and smaller steps?
- order: with which order does the output approach that of the finest steps? Euler's is 1 on a smooth field;
- smoothness: are neighbouring θ, and neighbouring steps of the state, similar (Sander et al. 2022)?
- lesions: does the output survive leaving out a layer, or exchanging two (Veit et al. 2016)?
- spectrum: do the eigenvalues of the branches' Jacobians lie where a step of the solver decays if the flow does?

    python -m experiments.is_it_an_ode FILE                # a checkpoint, on Fashion-MNIST (or --data): a minute
    python -m experiments.is_it_an_ode demo --jobs auto    # digits: 15 minutes on two cores
    python -m experiments.is_it_an_ode cpu --jobs auto     # train on Fashion-MNIST and ask: an hour on two cores
    python -m experiments.is_it_an_ode gpu                 # three stages at 28×28: 115 s a seed on an H100

Expected: the constructed flow is an ODE, independent layers are not, and neither are the ResNets with h = 1. Of the
crossed nets, those whose layers begin equal and that are trained with mixed steps are nearest to one: their θ stay
similar (roughness below 0.5), while independent layers stay unrelated (√2), at equal accuracy. Seen on digits: as
expected for the controls and for θ; but mixed steps and the scaled rate bring a net nearer to its flow (with BatchNorm
from 16.7 to 9.7 %), and equal layers do not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.support.command import Experiment, on_images
from experiments.support.crossed import Cell, Crossed, Rates, TrainedWith, crossed_net, with_rates
from experiments.support.deployment import compare_steppings, near_exact
from experiments.support.network_files import read
from experiments.support.ode_questions import QUESTIONS
from experiments.support.ode_report import table, verdict
from experiments.support.parts import PartedRun
from experiments.support.presets import ON_A_GPU
from experiments.support.training import train
from odenet import Euler, FixedSteps
from odenet.data import ImageData
from odenet.models import ResNet
from odenet.training import Run, Training


@dataclass(frozen=True)
class IsItAnODE(Crossed):
    """Settings of the experiment."""

    checkpoint: Path | None = None
    """File of a saved model or of a torchvision state dict; None trains nets."""
    layers: int = 4
    """Number L of layers in the flow of each stage of the trained nets."""
    steppings: tuple[TrainedWith, ...] = ("euler", "mixed")
    """Names of the steppings of the trainings."""
    rates: tuple[Rates, ...] = ("one", "scaled")
    """Learning rates of the flows: the same at every depth, or multiplied by 1/h."""
    probe_images: int = 100
    """Number of test images for all questions but the first."""


DIGITS = IsItAnODE(
    data="digits",
    stem_stride=1,
    recalibration_images=1000,
    training=Training(epochs=12, batch_size=64, threads=1),
)
"""Settings for 1,437 images of 8×8 pixels: one thread, since an epoch of 22 steps gains nothing from a second."""

PRESETS = {
    "smoke": replace(
        DIGITS,
        train_images=128,
        seeds=(0,),
        widths=(4, 8),
        layers=2,
        initializations=("tied",),
        rates=("scaled",),
        recalibration_images=64,
        probe_images=16,
        training=replace(DIGITS.training, epochs=1),
    ),
    "demo": DIGITS,
    "cpu": IsItAnODE(augment=False, training=Training(epochs=1, batch_size=64, lr=0.2, threads=1, compile=True)),
    "gpu": IsItAnODE(
        widths=(16, 32, 64),
        stem_stride=1,
        probe_images=1000,
        training=Training(epochs=2, lr=0.4, **ON_A_GPU),
    ),
}
GPU_SECONDS = 115  # estimated for one seed of the preset gpu on an H100


def is_it_an_ode(settings: IsItAnODE, data: ImageData, run: PartedRun) -> None:
    """Ask the questions of the checkpoint, or of each net for every seed, and give a verdict on each."""
    seeds = settings.seeds if settings.checkpoint is None else (0,)
    run.each([partial(_asked, settings, data, seed, name) for name in nets(settings) for seed in seeds])
    run.finish(table=table(run.record))


def cells(settings: IsItAnODE) -> Iterator[Cell]:
    """Yield the choices of the factors."""
    axes = settings.normalizations, settings.initializations, settings.steppings, settings.rates
    return (Cell(*choice) for choice in product(*axes))


CONTROLS: Mapping[str, Callable[[IsItAnODE, ImageData], ResNet]] = {
    "constructed flow": lambda s, data: crossed_net(s, data, 8, 0.125, Cell("group", "tied")),
    "pre-activation, h = 1": lambda s, data: crossed_net(s, data, s.layers, s.layers),
    "post-activation, h = 1": lambda s, data: crossed_net(s, data, s.layers, s.layers, post=True),
    "independent layers": lambda s, data: crossed_net(s, data, s.layers, s.layers, Cell("group")),
}
"""Nets outside the crossed factors, by name."""

UNTRAINED = ("constructed flow", "independent layers")
OWN = FixedSteps(Euler())


def nets(settings: IsItAnODE) -> list[str]:
    """Return the names of the nets: the checkpoint alone, or the controls and the cells."""
    return ["checkpoint"] if settings.checkpoint else [*CONTROLS, *map(str, cells(settings))]


def _asked(settings: IsItAnODE, data: ImageData, seed: int, name: str, run: Run) -> None:
    """Record the answers to all questions of one net, and the verdict."""
    key = f"seed{seed}/{name}"
    net = cache(partial(_network, settings, data, seed, name, run))
    run.once(f"{key}/answers", lambda: _answers(net(), settings, data))
    for question, ask in QUESTIONS.items():
        run.once(f"{key}/{question}", lambda ask=ask: ask(net(), *_images(net(), settings, data)))
    run.once(f"{key}/verdict", partial(verdict, run.record.results, key))


def _answers(net: nn.Module, settings: IsItAnODE, data: ImageData) -> dict[str, Any]:
    """Compare the answers of a `ResNet` on all test images with those of its flow; other networks have none."""
    if not isinstance(net, ResNet) or net.in_channels != data.in_channels:
        return {}
    return dict(compare_steppings(net, {"flow": near_exact(net), "own": OWN}, data, settings.recalibration_images))


def _images(net: nn.Module, settings: IsItAnODE, data: ImageData) -> tuple[Tensor, Tensor]:
    """Return the test images and labels of the other questions."""
    batches = data.test_batches(settings.probe_images, device=next(net.parameters()).device)
    images, labels = next(iter(batches.epoch(0)))
    if isinstance(channels := getattr(net, "in_channels", None), int) and images.shape[1] == 1:
        images = images.expand(-1, channels, -1, -1)  # grey images become coloured ones if the net takes these
    return images, labels


def _network(settings: IsItAnODE, data: ImageData, seed: int, name: str, run: Run) -> nn.Module:
    """Return the net of that name, read or trained, in evaluation mode."""
    if settings.checkpoint is not None:
        return read(settings.checkpoint).eval()
    torch.manual_seed(seed)
    if name in CONTROLS:
        net, own = CONTROLS[name](settings, data), settings
    else:
        cell = next(cell for cell in cells(settings) if str(cell) == name)
        net, own = crossed_net(settings, data, settings.layers, 1, cell), with_rates(settings, cell)
    if name not in UNTRAINED:
        train(net, f"seed{seed}/{name}", own, data, seed, run)
    return net.eval()


EXPERIMENT = Experiment("is_it_an_ode", PRESETS, on_images(is_it_an_ode), parted=True)
if __name__ == "__main__":
    first, *rest = sys.argv[1:] or ["--help"]
    if Path(first).is_file():
        first, *rest = ["cpu", "--checkpoint", first, "--record", f"runs/is_it_an_ode/{Path(first).stem}.json", *rest]
    EXPERIMENT.main([first, *rest])
