"""Which upsampling: nearest neighbour, bed of nails, max unpooling, transpose convolution, bilinear?

The same small net is trained with each upsampling to label every pixel of a scene. There are two such nets: a
DeconvNet, whose decoder knows of the image only its code (and, with max unpooling, the positions of the maxima), and a
U-Net, whose decoder also reads the maps of the encoder. Measured on scenes not seen in training: mean IoU, boundary F1,
and the checkerboard in the logits (the share of their energy at the frequencies of the stride), before and after
training; and the seconds of a forward pass. The lecture's worked examples are computed too, for their figure.

    python -m experiments.upsampling cpu    # 30 minutes on one core
    python -m experiments.upsampling gpu    # 96×96, wider nets, 10 times the scenes: 100 s a seed on an H100

Expected: without skips, unpooling has the best outlines, because it knows where they were (Noh et al. 2015;
Badrinarayanan et al. 2017); with skips the upsampling hardly matters. Filters of 3×3 at stride 2 overlap unevenly and
leave more of a checkerboard than nearest neighbour and bilinear (Odena et al. 2016), before training more than after.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean, median
from typing import Annotated, Any

import torch
from torch import nn

from experiments.support.command import Experiment, Seeds
from experiments.support.presets import ON_A_GPU
from experiments.support.rates import TUNING, VALIDATION, best_rate
from experiments.support.statistics import over_seeds, spread
from experiments.support.upsampling_examples import examples
from odenet.data import SceneBatches, Scenes
from odenet.layers import BedOfNails, Bilinear, MakeUpsampling, MaxUnpooling, Nearest, TransposeConvolution
from odenet.measure import checkerboard_energy, count_parameters, interleaved
from odenet.models import deconvnet, unet
from odenet.training import Record, Run, Segmentation, Training, evaluate, launch
from odenet.training.checked import Checked, OneOf, Within

UPSAMPLINGS: Mapping[str, MakeUpsampling] = {
    "nearest": Nearest,
    "bed of nails": BedOfNails,
    "max unpooling": MaxUnpooling,
    "transpose 3×3": TransposeConvolution,
    "transpose 2×2": partial(TransposeConvolution, kernel=2, padding=0),
    "bilinear": Bilinear,
}

NETS = ("deconvnet", "unet")


@dataclass(frozen=True)
class Upsamplings(Checked):
    """Settings of the experiment."""

    seeds: Seeds = (0, 1, 2, 3, 4)
    """Seeds of the repetitions: of the initial weights and the training scenes."""
    nets: Annotated[tuple[str, ...], OneOf(NETS)] = NETS
    """Names of the nets: without skips (deconvnet) and with skips (unet)."""
    upsamplings: Annotated[tuple[str, ...], OneOf(UPSAMPLINGS)] = tuple(UPSAMPLINGS)
    """Names of the upsamplings to compare."""
    widths: tuple[int, ...] = (16, 32)
    """Number of filters in each stage of the encoder, which has two convolutions and halves the map."""
    size: int = 32
    """Side of a scene in pixels."""
    objects: int = 2
    """Largest number of objects in a scene."""
    clutter: int = 0
    """Largest number of objects without a class in a scene."""
    scenes: int = 1000
    """Number of training scenes, which are the same in every epoch."""
    test_scenes: int = 500
    """Number of test scenes, which are the same for all nets."""
    repetitions: int = 11
    """Number of repetitions of the timed forward pass, of which the median counts."""
    rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2)
    """Learning rates of which each net takes the best by its mean IoU on validation scenes; one is taken as it is."""
    dice: Annotated[float, Within(0, 1)] = 0.5
    """Share of the Dice loss, which the ground does not dominate, as it does cross-entropy at first."""
    training: Training = field(default_factory=Training)
    """Settings of the training of each net, but for `lr`, which is one of `rates`."""


TRAINING = Training(epochs=6, batch_size=16, optimizer="adam", weight_decay=0.0, threads=1)
CPU = Upsamplings(training=TRAINING)
SMOKE = replace(CPU, seeds=(0,), rates=(1e-2, 3e-2), widths=(4, 4), size=16, scenes=16, test_scenes=16, repetitions=1)
PRESETS = {
    "smoke": replace(SMOKE, training=replace(TRAINING, epochs=1)),
    "cpu": CPU,
    "gpu": replace(
        CPU,
        rates=(1e-2,),
        widths=(32, 64, 128, 256),
        size=96,
        objects=4,
        clutter=3,
        scenes=10_000,
        test_scenes=2000,
        training=replace(TRAINING, epochs=4, **ON_A_GPU | {"batch_size": 64}),
    ),
}
GPU_SECONDS = 100  # estimated for one seed of the preset gpu on an H100


def upsamplings(settings: Upsamplings, _root: Path | None, run: Run) -> None:
    """Compute the examples, train and test every net with every upsampling for every seed, and time them."""
    run.once("examples", examples)
    for seed, net, name in product(settings.seeds, settings.nets, settings.upsamplings):
        key = f"seed{seed}/{net}/{name}"
        run.once(key, lambda: train_and_test(net, name, settings, seed, run, key))  # noqa: B023 (called at once)
    for net in settings.nets:
        run.once(f"times/{net}", lambda: {"seconds": forward_seconds(net, settings)})  # noqa: B023
    run.finish(table=table(run.record))


def network(net: str, name: str, settings: Upsamplings, num_classes: int) -> nn.Module:
    """Build the net with the upsampling called `name`, and BatchNorm after every convolution."""
    deepest = 2 * settings.widths[-1]
    if net == "unet":
        return unet(
            num_classes, 3, widths=(*settings.widths, deepest), norm=nn.BatchNorm2d, upsampling=UPSAMPLINGS[name]
        )
    stages = [(width, width) for width in settings.widths]
    return deconvnet(num_classes, 3, stages=stages, hidden=deepest, window=3, upsampling=UPSAMPLINGS[name])


def scenes_of(settings: Upsamplings, seed: int) -> Scenes:
    """Return the training scenes of a seed."""
    return Scenes((settings.size, settings.size), seed, objects=(1, settings.objects), clutter=(0, settings.clutter))


def train_and_test(net: str, name: str, settings: Upsamplings, seed: int, run: Run, key: str) -> dict[str, Any]:
    """Train a net; return its scores on the test scenes, and the checkerboard in its logits before and after."""

    def score(rate: float) -> float:
        key = f"rate/{net}/{name}/{rate:g}"
        return trained(net, name, settings, TUNING, rate, scenes_of(settings, VALIDATION), run, key)["mean_iou"]

    lr = best_rate(f"{net}/{name}", settings.rates, score, run)
    scenes = replace(scenes_of(settings, 0), part="test")
    return {"lr": lr} | trained(net, name, settings, seed, lr, scenes, run, key)


def trained(
    net: str, name: str, settings: Upsamplings, seed: int, lr: float, unseen: Scenes, run: Run, key: str
) -> dict[str, Any]:
    """Train a net with a learning rate; return its scores on unseen scenes, and the checkerboards."""
    training = replace(settings.training, lr=lr)
    fabric = launch(training)
    batches = partial(SceneBatches, target="semantic", rank=fabric.global_rank, world_size=fabric.world_size)
    train = batches(scenes_of(settings, seed).to(fabric.device), settings.scenes, training.batch_size)
    test = batches(unseen.to(fabric.device), settings.test_scenes, min(100, settings.test_scenes))
    task = Segmentation(1 + len(unseen.classes), dice=settings.dice)
    torch.manual_seed(seed)
    model = network(net, name, settings, task.num_classes).to(fabric.device)
    before = checkerboard(model, test)
    run.fit(key, model, task, train, None, training, seed=seed, label=f"{key:30}")
    facts = {"parameters": count_parameters(model), "initial_checkerboard": before}
    return facts | {"checkerboard": checkerboard(model, test)} | evaluate(model, task, test)


@torch.no_grad()
def checkerboard(model: nn.Module, test: SceneBatches) -> float:
    """Measure the checkerboard energy of the logits of the first test scenes."""
    images, _ = next(test.epoch(0))
    return checkerboard_energy(model.eval()(images))


def forward_seconds(net: str, settings: Upsamplings) -> dict[str, float]:
    """Measure the seconds of a forward pass of a batch for each upsampling: medians of interleaved repetitions."""
    device = launch(settings.training).device
    images = torch.randn(settings.training.batch_size, 3, settings.size, settings.size, device=device)
    models = {name: network(net, name, settings, 5).to(device).eval() for name in settings.upsamplings}
    with torch.no_grad():
        seconds = interleaved({name: partial(model, images) for name, model in models.items()}, settings.repetitions)
    return {name: median(values) for name, values in seconds.items()}


def table(record: Record) -> list[dict[str, Any]]:
    """Return a row for each net and upsampling, in percent: means and standard deviations over the seeds."""
    settings, rows = record.settings, []
    for key in (f"{net}/{name}" for net in settings["nets"] for name in settings["upsamplings"]):
        net, _, name = key.partition("/")
        columns = ("mean_iou", "boundary_f1", "initial_checkerboard", "checkerboard")
        cells = {column: spread(100 * v for v in over_seeds(record.results, key, column)) for column in columns}
        milliseconds = 1000 * record.results[f"times/{net}"]["seconds"][name]
        parameters = round(fmean(over_seeds(record.results, key, "parameters")))
        rows.append({"net": net, "upsampling": name, **cells, "parameters": parameters, "ms": f"{milliseconds:.1f}"})
    return rows


EXPERIMENT = Experiment("upsampling", PRESETS, upsamplings)
if __name__ == "__main__":
    EXPERIMENT.main()
