"""Is this network an ODE, or a stack of layers?

This script reports on any checkpoint: a file of `odenet.training.save_model`, or the state dict of a torchvision
ResNet, whose blocks are read as projected Euler steps. Without a checkpoint, it trains a pre-activation ResNet and
reports on that. The report answers five questions:

- solvers: how far does the output move, and does the accuracy stay, with other solvers and smaller steps?
- order: with which order does the output approach that of the finest steps? Euler's is 1 on a smooth field;
- smoothness: are neighbouring θ, and neighbouring steps of the state, similar (Sander et al. 2022)?
- lesions: does the output survive leaving out a layer, or exchanging two (Veit et al. 2016)?
- spectrum: do the eigenvalues of the branches' Jacobians lie where a step of the solver decays if the flow does?

    python -m experiments.is_it_an_ode FILE     # a checkpoint, on Fashion-MNIST (--data for others): a minute
    python -m experiments.is_it_an_ode cpu      # train on Fashion-MNIST and ask: 5 minutes on one core
    python -m experiments.is_it_an_ode gpu      # three seeds of a wider net at 28×28: 45 s a seed on an H100

Expected: a net trained with Euler and h = 1 is not an ODE. Its θ are unrelated (roughness √2, as after initialization,
because nothing in training makes neighbours similar); halving the step moves the output by tens of percent, and a
lesion moves it more. Yet its field is smooth: the order is 1 once steps are small.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from pickle import UnpicklingError
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from experiments.support.command import Experiment, Settings, on_images
from experiments.support.ode_questions import QUESTIONS
from experiments.support.presets import ON_A_GPU
from experiments.support.statistics import over_seeds, spread
from experiments.support.training import train
from odenet.blocks.extras import Extra
from odenet.data import ImageData
from odenet.models import cifar_resnet, from_torchvision
from odenet.training import Record, Run, Training, WeightsError, load_model

with Extra("experiments"):
    from safetensors import SafetensorError
    from safetensors.torch import load_file


@dataclass(frozen=True)
class IsItAnODE(Settings):
    """Settings of the experiment."""

    checkpoint: Path | None = None
    """File of a saved model or of a torchvision state dict; None trains a net."""
    blocks: int = 4
    """Number of residual blocks in each stage of the trained net, transitions included."""
    widths: tuple[int, ...] = (16, 32)
    """Channels of each stage of the trained net."""
    probe_images: int = 100
    """Number of test images for all measurements."""


PRESETS = {
    "smoke": IsItAnODE(
        data="digits",
        train_images=128,
        seeds=(0,),
        blocks=3,
        widths=(4, 8),
        probe_images=16,
        training=Training(epochs=1, batch_size=64, threads=1),
    ),
    "cpu": IsItAnODE(seeds=(0,), augment=False, training=Training(epochs=2, batch_size=64, lr=0.2, threads=1)),
    "gpu": IsItAnODE(
        blocks=8, widths=(16, 32, 64), probe_images=1000, training=Training(epochs=10, lr=0.4, **ON_A_GPU)
    ),
}
GPU_SECONDS = 45  # estimated for one seed of the preset gpu on an H100


def is_it_an_ode(settings: IsItAnODE, data: ImageData, run: Run) -> None:
    """Measure the checkpoint, or the trained net of every seed, and give a verdict on each."""
    for seed in settings.seeds if settings.checkpoint is None else (0,):
        asked = cache(partial(_net_and_images, settings, data, seed, run))
        for question, ask in QUESTIONS.items():
            run.once(f"seed{seed}/{question}", lambda ask=ask, asked=asked: ask(*asked()))
        run.once(f"seed{seed}/verdict", partial(verdict, run.record.results, f"seed{seed}"))
    run.finish(table=table(run.record))


def _net_and_images(settings: IsItAnODE, data: ImageData, seed: int, run: Run) -> tuple[nn.Module, Tensor, Tensor]:
    """Return the net, read or trained, with the test images and labels of the measurements."""
    net = _network(settings, data, seed, run).eval()
    batches = data.test_batches(settings.probe_images, device=next(net.parameters()).device)
    images, labels = next(iter(batches.epoch(0)))
    if isinstance(channels := getattr(net, "in_channels", None), int) and images.shape[1] == 1:
        images = images.expand(-1, channels, -1, -1)  # grey images become coloured ones if the net takes these
    return net, images, labels


def _network(settings: IsItAnODE, data: ImageData, seed: int, run: Run) -> nn.Module:
    if settings.checkpoint is not None:
        return read(settings.checkpoint)
    torch.manual_seed(seed)
    net = cifar_resnet(
        settings.blocks,
        data.num_classes,
        data.in_channels,
        widths=settings.widths,
        stem_stride=1 if max(data.image_size) < 16 else 2,
        activation="pre",
    )
    train(net, f"seed{seed}", settings, data, seed, run)
    return net


def read(path: Path) -> nn.Module:
    """Read the network in a file of `save_model`, or of torchvision's weights (`.pth`, or safetensors).

    Raises:
        ValueError: if the file is neither; the message has the reason for both.
    """
    try:
        return load_model(path)
    except WeightsError as error:
        reason = error
    try:
        return from_torchvision(_state(path))
    except (ValueError, TypeError, RuntimeError, EOFError, SafetensorError) as error:
        raise ValueError(
            f"{path} cannot be read as a network. As a file of save_model: {reason} As weights of torchvision: {error}"
        ) from error


def _state(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:  # the message of torch advises running code in the file
        raise ValueError("the file holds more than tensors, or was not written by torch.save.") from error


def verdict(results: Mapping[str, Mapping[str, Any]], seed: str) -> dict[str, Any]:
    """Decide by the distance to the flow whether the net is an ODE; return that with a sentence that explains it."""
    distance = results[f"{seed}/solvers"]["distance"]["rk4×8"]
    rough = fmean(_flat(results[f"{seed}/smoothness"]["theta"]))
    answer = "yes" if distance < 0.02 else "nearly" if distance < 0.1 else "no"
    kind = "alike" if rough < 0.5 else "unrelated" if rough > 1.2 else "related"
    words = (
        f"{answer}: the flow of its field ends {100 * distance:.0f} % away, and neighbouring θ are {kind} ({rough:.2f})"
    )
    return {"answer": answer, "distance": distance, "roughness": rough, "words": words}


def _flat(blocks: list[list[float]]) -> list[float]:
    """Return the values of all blocks in one list; 0 if no block has neighbouring pieces."""
    return [value for block in blocks for value in block] or [0.0]


def table(record: Record) -> list[dict[str, Any]]:
    """Return a row for each measurement: means and standard deviations over the seeds; the verdicts come last."""
    results = record.results
    rows = [
        {
            "question": f"distance under {way} (%)",
            "answer": spread(100 * d[way] for d in over_seeds(results, "solvers", "distance")),
        }
        for way in ("euler×2", "midpoint×1", "rk4×8")
    ]
    rows.append({"question": "order of Euler", "answer": spread(over_seeds(results, "order", "order"), 2)})
    for lesion in ("dropped", "swapped"):
        found = [100 * fmean(_flat(blocks)) for blocks in over_seeds(results, "lesions", lesion)]
        rows.append({"question": f"distance with a layer {lesion} (%)", "answer": spread(found)})
    return [*rows, *({"question": "an ODE?", "answer": words} for words in over_seeds(results, "verdict", "words"))]


EXPERIMENT = Experiment("is_it_an_ode", PRESETS, on_images(is_it_an_ode))
if __name__ == "__main__":
    first, *rest = sys.argv[1:] or ["--help"]
    if Path(first).is_file():
        first, *rest = ["cpu", "--checkpoint", first, "--record", f"runs/is_it_an_ode/{Path(first).stem}.json", *rest]
    EXPERIMENT.main([first, *rest])
