"""Where are the objects, and which pixels are whose? Detection and instance segmentation on flows.

FCOS finds boxes, and Mask R-CNN boxes and masks, of the objects in scenes of the lecture's classes or of garments.
Their heads are torchvision's; their backbones (`support/detection_nets.py`) are the same layers with and without the
identity, and with GroupNorm. The stepping of the flows is then changed, their weights are not, and average precision is
measured against evaluations of the vector fields: with running statistics, and with those of the batch.

    python -m experiments.detection cpu                    # 96×96: 90 minutes on one idle core
    python -m experiments.detection cpu --data garments    # the same of Fashion-MNIST's images
    python -m experiments.detection gpu                    # wider nets: 115 s a seed on an H100, estimated

Expected: FCOS has at least 62 % mAP and 92 % AP50, Mask R-CNN 70 % AP50 of masks, and flows are as good as the plain
net with no more parameters. On COCO torchvision's have 39.2 and 37.9 % mAP of boxes, and 34.6 % of masks. With more
steps than in training, a net gets worse. Trained nets are saved as `seed…/NET/net.safetensors` for `detect_image.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from torch import nn

from experiments.support.command import Experiment, Seeds
from experiments.support.detection_nets import COMPARED, FLOWS, MASKS, NETS, detection_net
from experiments.support.detections import found_in, objects_as_data, precision_recall, under_other_steppings
from experiments.support.pictures import to_text
from experiments.support.presets import ON_A_GPU
from experiments.support.statistics import over_seeds, spread
from odenet.data import ObjectBatches, Scenes, data_root, garment_scenes
from odenet.measure import count_multiply_adds, count_parameters
from odenet.training import Detection, History, Record, Run, Training, evaluate, launch, save_model
from odenet.training.checked import Checked, OneOf

ONE_STAGE = Training(epochs=1, batch_size=16, optimizer="adamw", lr=0.002, weight_decay=1e-4, warmup=0.0, threads=1)
"""Linear decay without a warm-up, for FCOS: 59.2 % mAP after 8 minutes on one core."""

TWO_STAGES = replace(ONE_STAGE, batch_size=4, lr=0.0015, gradient_clip=5.0)
"""Smaller batches, for more steps, and a clipped gradient, for Mask R-CNN."""


@dataclass(frozen=True)
class SceneDetection(Checked):
    """Settings of the experiment."""

    data: Literal["scenes", "garments"] = "scenes"
    """Scenes to draw: silhouettes of four classes (scenes), or images of Fashion-MNIST, ten classes (garments)."""
    seeds: Seeds = (0,)
    """Seeds of the repetitions: of the initial weights and the training scenes."""
    nets: Annotated[tuple[str, ...], OneOf(NETS)] = COMPARED
    """Names of the nets to compare."""
    width: int = 16
    """Number of channels of the first stage."""
    size: int = 96
    """Side of a scene in pixels, a multiple of 32."""
    objects: tuple[int, int] = (1, 3)
    """Smallest and largest number of objects in a scene."""
    scenes: int = 48_000
    """Number of training scenes in an epoch for FCOS; each epoch has new ones."""
    mask_scenes: int = 12_000
    """Number of training scenes in an epoch for Mask R-CNN, whose steps take four times as long."""
    test_scenes: int = 500
    """Number of test scenes, which are the same for all nets."""
    swap_scenes: int = 200
    """Number of test scenes for the other steppings."""
    pictures: int = 4
    """Number of test scenes whose objects are kept for the figures."""
    training: Training = ONE_STAGE
    """Settings of the training of FCOS."""
    mask_training: Training = TWO_STAGES
    """Settings of the training of Mask R-CNN."""


CPU = SceneDetection()
PRESETS = {
    "smoke": replace(
        CPU,
        nets=("fcos_flows", "mask_rcnn_flows"),
        width=4,
        size=32,
        scenes=16,
        mask_scenes=8,
        test_scenes=8,
        swap_scenes=4,
        pictures=2,
        training=replace(ONE_STAGE, batch_size=8),
    ),
    "cpu": CPU,
    "gpu": replace(
        CPU,
        seeds=(0, 1, 2),
        width=32,
        scenes=24_000,
        mask_scenes=8_000,
        training=replace(ONE_STAGE, **ON_A_GPU | {"batch_size": 64, "lr": 0.003}),
        mask_training=replace(TWO_STAGES, batch_size=16, lr=0.002, threads=None),
    ),
}
GPU_SECONDS = 115  # estimated for one seed of the preset gpu on an H100


class Data(NamedTuple):
    """Task, training settings and scenes of a net."""

    task: Detection
    training: Training
    train: ObjectBatches
    test: ObjectBatches
    swap: ObjectBatches


def detection(settings: SceneDetection, root: Path | None, run: Run) -> None:
    """Train and test every net for every seed."""
    for seed in settings.seeds:
        data = {masks: data_of(settings, root, seed, masks=masks) for masks in (False, True)}
        run.once("scenes", lambda: pictures(data[True], settings))  # noqa: B023 (called at once)
        for name in settings.nets:
            train_and_test(f"seed{seed}/{name}", name, settings, data[name in MASKS], seed, run)
    run.finish(table=table(run.record))


def data_of(settings: SceneDetection, root: Path | None, seed: int, *, masks: bool) -> Data:
    """Return the training scenes of the seed, and test scenes that are the same for all seeds."""
    training = settings.mask_training if masks else settings.training
    fabric = launch(training)
    form: dict[str, Any] = {"size": (settings.size, settings.size), "objects": settings.objects, "clutter": (0, 0)}
    if settings.data == "garments":
        train, test = garment_scenes(data_root(root), **form)
    else:
        train, test = Scenes(**form), Scenes(**form, part="test")
    batches = partial(ObjectBatches, masks=masks, rank=fabric.global_rank, world_size=fabric.world_size)
    train, test = replace(train, seed=seed).to(fabric.device), test.to(fabric.device)
    count = settings.mask_scenes if masks else settings.scenes
    return Data(
        Detection(train.classes, masks=masks),
        training,
        batches(train, count, training.batch_size, fresh=True),
        batches(test, settings.test_scenes, min(50, settings.test_scenes)),
        batches(test, settings.swap_scenes, min(50, settings.swap_scenes)),
    )


def train_and_test(key: str, name: str, settings: SceneDetection, data: Data, seed: int, run: Run) -> None:
    """Train the net called `name`, or read it back; save and test it, also with other steppings if it has flows."""
    make = partial(detection_net, name, 1 + len(data.task.classes), size=settings.size, width=settings.width)
    torch.manual_seed(seed)
    net = make().to(launch(data.training).device)

    @cache
    def fitted() -> tuple[nn.Module, History]:
        history = run.fit(key, net, data.task, data.train, None, data.training, seed=seed, label=key)
        save_model(net.eval(), run.folder(key) / "net.safetensors", make, names={"detection_net": detection_net})
        return net, history

    run.once(key, lambda: facts(fitted()[0], settings, data) | {"seconds_per_epoch": fitted()[1].seconds_per_epoch})
    if name in FLOWS:
        run.once(f"{key}/steppings", lambda: under_other_steppings(fitted()[0], data.task, data.swap))


def facts(net: nn.Module, settings: SceneDetection, data: Data) -> dict[str, Any]:
    """Measure the costs and the precisions of a net, and what it finds in the first test scenes; leave out NaN."""
    images, _ = next(data.test.epoch(0))
    size = {"parameters": count_parameters(net), "backbone": count_parameters(net.get_submodule("backbone.backbone"))}
    size |= {"multiply_adds": count_multiply_adds(net.get_submodule("backbone"), images[:1])}
    found = found_in(net, images[: settings.pictures])
    curves = precision_recall(net, data.task, data.test)
    scores = {name: value for name, value in evaluate(net, data.task, data.test).items() if not math.isnan(value)}
    return size | scores | {"curves": curves, "found": found}


def pictures(data: Data, settings: SceneDetection) -> dict[str, Any]:
    """Return the first test scenes and their objects."""
    images, targets = next(data.test.epoch(0))
    shown = range(settings.pictures)
    return {
        "images": to_text((255 * images[: settings.pictures]).round()),
        "objects": [objects_as_data(targets[place]) for place in shown],
        "classes": list(data.task.classes),
    }


def table(record: Record) -> list[dict[str, Any]]:
    """Return a row for each net, in percent: means and standard deviations over the seeds."""
    rows = []
    for name in record.settings["nets"]:
        columns = ("mAP", "AP50", "AP75", *(("mask mAP", "mask AP50") if name in MASKS else ()))
        cells = {column: spread(100 * v for v in over_seeds(record.results, name, column)) for column in columns}
        first = record.results[f"seed{record.settings['seeds'][0]}/{name}"]
        costs = {"parameters": f"{first['parameters']:,}", "M multiply-adds": round(first["multiply_adds"] / 1e6)}
        rows.append({"net": name, **{"mask mAP": "", "mask AP50": ""}, **cells, **costs})
    return rows


EXPERIMENT = Experiment("detection", PRESETS, detection)
if __name__ == "__main__":
    EXPERIMENT.main()
