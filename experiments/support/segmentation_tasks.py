"""Scenes and losses of `experiments.segmentation`: what its nets are trained, validated and tested on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.support.pictures import telling, to_text
from experiments.support.rates import VALIDATION
from odenet.data import SceneBatches, Scenes, data_root, garment_scenes
from odenet.training import Segmentation, launch

if TYPE_CHECKING:
    from experiments.segmentation import SceneSegmentation


class Task(NamedTuple):
    """Loss and scenes with which all nets of a seed are trained, validated and tested."""

    loss: Segmentation
    train: SceneBatches
    validation: SceneBatches
    test: SceneBatches
    swap: SceneBatches
    names: tuple[str, ...]


def task_of(settings: SceneSegmentation, root: Path | None, seed: int) -> Task:
    """Return the training scenes of the seed, and validation and test scenes that are the same for all seeds."""
    fabric = launch(settings.training)
    form: dict[str, Any] = {"size": (settings.size, settings.size), "objects": settings.objects, "clutter": (0, 0)}
    if settings.data == "garments":
        train, test = garment_scenes(data_root(root), **form)
    else:
        train, test = Scenes(**form), Scenes(**form, part="test")
    batches = partial(SceneBatches, target="semantic", rank=fabric.global_rank, world_size=fabric.world_size)
    test = test.to(fabric.device)
    return Task(
        Segmentation(1 + len(train.classes), dice=settings.dice),
        batches(replace(train, seed=seed).to(fabric.device), settings.scenes, settings.training.batch_size, fresh=True),
        batches(replace(train, seed=VALIDATION).to(fabric.device), settings.test_scenes, min(50, settings.test_scenes)),
        batches(test, settings.test_scenes, min(50, settings.test_scenes)),
        batches(test, settings.swap_scenes, min(50, settings.swap_scenes)),
        train.classes,
    )


def pictures(task: Task, settings: SceneSegmentation) -> dict[str, Any]:
    """Return test scenes, among the first batch, that show all classes, and their masks."""
    chosen = telling(next(task.test.epoch(0))[1], settings.pictures)
    batch = task.test.scenes.draw(chosen)
    return {"images": to_text(batch.images), "masks": to_text(batch.semantic), "classes": ["ground", *task.names]}
