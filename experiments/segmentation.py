"""FCN-32s, 16s, 8s, DeconvNet, U-Net, and flows: which net finds what every pixel shows?

Small nets (`support/segmentation_nets.py`) are trained alike on scenes of one or two objects, and tested on others:
mean IoU and boundary F1 against parameters, multiply-adds and seconds. Two of them consist of flows: their stepping is
then changed, their weights are not, and IoU is measured against evaluations of the vector fields. As in `solver_swap`,
these tests are made twice: with BatchNorm's running statistics, and with each evaluation normalized by its own batch.

    python -m experiments.segmentation cpu                    # 96×96: 120 minutes on two idle cores
    python -m experiments.segmentation cpu --data garments --scenes 10000    # the same of Fashion-MNIST's images
    python -m experiments.segmentation gpu                    # wider nets, more scenes: 105 s a seed on an H100

Expected: finer skips are better, FCN-8s > FCN-16s > FCN-32s (62.7, 62.4, 59.4 % on VOC; Long et al. 2015); U-Net is
best, at least 85 % mean IoU on scenes, and the U-Net of flows within a point of it with no more parameters. The net at
full resolution sees too little of an object to name it. With more steps than in training, a net gets worse, as in
`solver_swap`. Seen, with one seed: as expected, except that U-Net has 84.5 %, and the one of flows 86.2 %. On garments,
of ten classes, all nets are undertrained after 10,000 scenes, and U-Net (20.3 %) is behind every FCN. Every trained net
is saved beside the record, in `seed…/NET/net.safetensors`, for `experiments/segment_image.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

import torch
from torch import nn

from experiments.support.command import Experiment, Seeds
from experiments.support.other_steppings import under_other_steppings
from experiments.support.pictures import telling, to_text
from experiments.support.rates import TUNING, best_rate
from experiments.support.segmentation_nets import FLOWS, NETS, segmentation_net
from experiments.support.segmentation_tasks import Task, pictures, task_of
from experiments.support.statistics import over_seeds, spread
from odenet.measure import count_multiply_adds, count_parameters, interleaved
from odenet.training import History, Record, Run, Training, evaluate, launch, save_model
from odenet.training.checked import Checked, OneOf, Within

TRAINING = Training(epochs=1, batch_size=4, optimizer="adam", weight_decay=0.0, channels_last=True)
"""Small batches, for many steps: 67.5 % mean IoU; with 16 and no Dice loss 52.6 % (8,000 scenes, up to 3 objects)."""


@dataclass(frozen=True)
class SceneSegmentation(Checked):
    """Settings of the experiment."""

    data: Literal["scenes", "garments"] = "scenes"
    """Scenes to draw: silhouettes of four classes (scenes), or images of Fashion-MNIST, ten classes (garments)."""
    seeds: Seeds = (0, 1, 2, 3, 4)
    """Seeds of the repetitions: of the initial weights and the training scenes."""
    nets: Annotated[tuple[str, ...], OneOf(NETS)] = NETS
    """Names of the nets to compare."""
    width: int = 8
    """Common divisor of all numbers of channels."""
    size: int = 96
    """Side of a scene in pixels."""
    objects: tuple[int, int] = (1, 2)
    """Smallest and largest number of objects in a scene; with up to 3 and clutter, U-Net reaches 0.80 only."""
    scenes: int = 20_000
    """Number of training scenes in an epoch; each epoch has new ones."""
    test_scenes: int = 200
    """Number of test scenes, which are the same for all nets."""
    swap_scenes: int = 100
    """Number of test scenes for the other steppings."""
    pictures: int = 3
    """Number of test scenes whose predicted masks are kept for the figure."""
    repetitions: int = 11
    """Number of repetitions of the timed forward pass, of which the median counts."""
    dice: Annotated[float, Within(0, 1)] = 0.5
    """Share of the Dice loss, which counts small classes as much as the ground; the rest is cross-entropy."""
    training: Training = TRAINING
    """Settings of the training of each net, but for `lr`, which is one of `rates`."""
    rates: tuple[float, ...] = (0.0025, 0.005, 0.01)
    """Learning rates of which each net takes the best by its mean IoU on validation scenes; one is taken as it is."""


CPU = SceneSegmentation()
PRESETS = {
    "smoke": replace(
        CPU,
        seeds=(0,),
        nets=("fcn8s", "unet_flows"),
        rates=(0.005, 0.01),
        width=2,
        size=24,
        scenes=16,
        test_scenes=8,
        swap_scenes=4,
        pictures=1,
        repetitions=1,
        training=replace(TRAINING, batch_size=8, threads=1),
    ),
    "cpu": CPU,
    "gpu": replace(
        CPU,
        rates=(0.005,),
        width=32,
        scenes=10_000,
        test_scenes=1000,
        swap_scenes=500,
        training=replace(TRAINING, epochs=4, batch_size=32, precision="bf16-mixed"),
    ),
}
GPU_SECONDS = 105  # estimated for one seed of the preset gpu on an H100


def segmentation(settings: SceneSegmentation, root: Path | None, run: Run) -> None:
    """Train and test every net for every seed, and time the nets side by side."""
    rates = {name: chosen_rate(name, settings, root, run) for name in settings.nets}
    for seed in settings.seeds:
        task = task_of(settings, root, seed)
        run.once("scenes", lambda: pictures(task, settings))  # noqa: B023 (called at once)
        for name in settings.nets:
            training = replace(settings.training, lr=rates[name])
            train_and_test(f"seed{seed}/{name}", name, settings, task, training, seed, run)
    run.once("times", lambda: {"seconds": forward_seconds(settings, len(run.record.results["scenes"]["classes"]))})
    run.finish(table=table(run.record))


def chosen_rate(name: str, settings: SceneSegmentation, root: Path | None, run: Run) -> float:
    """Return the learning rate with which the net called `name` has the best mean IoU on validation scenes."""
    task = task_of(settings, root, TUNING)

    def score(rate: float) -> float:
        torch.manual_seed(TUNING)
        net = segmentation_net(name, task.loss.num_classes, width=settings.width).to(launch(settings.training).device)
        key, training = f"rate/{name}/{rate:g}", replace(settings.training, lr=rate)
        run.fit(key, net, task.loss, task.train, None, training, seed=TUNING, label=key)
        return evaluate(net, task.loss, task.validation)["mean_iou"]

    return best_rate(name, settings.rates, score, run)


def train_and_test(
    key: str, name: str, settings: SceneSegmentation, task: Task, training: Training, seed: int, run: Run
) -> None:
    """Train the net called `name`, or read it back; save and test it, also with other steppings if it has flows."""
    make = partial(segmentation_net, name, task.loss.num_classes, width=settings.width)
    torch.manual_seed(seed)
    net = make().to(launch(training).device)

    @cache
    def fitted() -> tuple[nn.Module, History]:
        history = run.fit(key, net, task.loss, task.train, None, training, seed=seed, label=key)
        save_model(net.eval(), run.folder(key) / "net.safetensors", make, names={"segmentation_net": segmentation_net})
        return net, history

    run.once(key, lambda: facts(fitted()[0], settings, task) | {"seconds_per_epoch": fitted()[1].seconds_per_epoch})
    if name in FLOWS:
        run.once(f"{key}/steppings", lambda: under_other_steppings(fitted()[0], task.loss, task.swap))


@torch.no_grad()
def facts(net: nn.Module, settings: SceneSegmentation, task: Task) -> dict[str, Any]:
    """Measure the costs and the scores of a trained net, and return its predicted masks of the pictures."""
    images, masks = next(task.test.epoch(0))
    answers = net(images[telling(masks, settings.pictures)]).argmax(dim=1)
    size = {"parameters": count_parameters(net), "multiply_adds": count_multiply_adds(net, images[:1])}
    return size | evaluate(net, task.loss, task.test) | {"answers": to_text(answers)}


def forward_seconds(settings: SceneSegmentation, num_classes: int) -> dict[str, float]:
    """Measure the seconds of a forward pass of one scene for each net: medians of interleaved repetitions."""
    image = torch.randn(1, 3, settings.size, settings.size, device=launch(settings.training).device)
    nets = {name: segmentation_net(name, num_classes, width=settings.width).to(image.device) for name in settings.nets}
    with torch.no_grad():
        rounds = interleaved({name: partial(net.eval(), image) for name, net in nets.items()}, settings.repetitions)
    return {name: median(seconds) for name, seconds in rounds.items()}


def table(record: Record) -> list[dict[str, Any]]:
    """Return a row for each net, in percent: means and standard deviations over the seeds."""
    rows = []
    for name in record.settings["nets"]:
        columns = ("mean_iou", "pixel_accuracy", "frequency_weighted_iou", "boundary_f1")
        cells = {column: spread(100 * v for v in over_seeds(record.results, name, column)) for column in columns}
        first = record.results[f"seed{record.settings['seeds'][0]}/{name}"]
        costs = {"parameters": f"{first['parameters']:,}", "M multiply-adds": round(first["multiply_adds"] / 1e6)}
        rows.append({"net": name, **cells, **costs, "ms": f"{1000 * record.results['times']['seconds'][name]:.1f}"})
    return rows


EXPERIMENT = Experiment("segmentation", PRESETS, segmentation)
if __name__ == "__main__":
    EXPERIMENT.main()
