"""Measurements of trained detectors: precision-recall, other steppings, and the objects found in the first images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from experiments.support.pictures import to_text
from odenet import FixedSteps, configure
from odenet.blocks.replay.replay import frozen_buffers
from odenet.blocks.stepping.base import Stepping
from odenet.data import ObjectBatches
from odenet.data.detection_targets import Target
from odenet.measure import count_evaluations
from odenet.measure.mode import in_mode
from odenet.training import Detection
from odenet.training.detection_metric import ObjectPrecision

STEPPINGS: Mapping[str, Stepping] = {
    f"{solver}×{steps}": FixedSteps(solver, per_piece=steps)
    for solver, steps in (("euler", 1), ("euler", 2), ("euler", 4), ("midpoint", 1), ("midpoint", 2), ("rk4", 1))
}
"""Steppings with which flows trained with euler×1 are tested: a solver and its number of steps per piece."""


@contextmanager
def by_batch(net: nn.Module) -> Iterator[None]:
    """Normalize every evaluation of a branch of a detector's backbone by its own batch, as in training."""
    backbone = net.get_submodule("backbone")
    with in_mode(backbone, training=True), frozen_buffers(net):
        yield


STATISTICS: Mapping[str, Callable[[nn.Module], AbstractContextManager[None]]] = {
    "running": lambda _: nullcontext(),
    "by_batch": by_batch,
}
"""Statistics of the normalizations of a detector under another stepping: a context for each kind.

Statistics collected anew for a stepping, by `recalibrate`, are to be a third kind."""


def under_other_steppings(net: nn.Module, task: Detection, test: ObjectBatches) -> dict[str, dict[str, Any]]:
    """Measure for each stepping the evaluations in a pass, and mAP and AP50 for each kind of statistics."""
    results: dict[str, dict[str, Any]] = {}
    for name, stepping in STEPPINGS.items():
        with configure(net, stepping=stepping):
            precisions = {kind: precision_of(net, task, test, context(net)) for kind, context in STATISTICS.items()}
            results[name] = {"evaluations": count_evaluations(net), **precisions}
    return results


@torch.no_grad()
def precision_of(
    net: nn.Module, task: Detection, test: ObjectBatches, statistics: AbstractContextManager[None] | None = None
) -> dict[str, float]:
    """Return mAP and AP50, also of masks if the task has them; `statistics` is entered in evaluation mode."""
    metric = ObjectPrecision(task.classes, masks=task.masks)
    with in_mode(net, training=False), statistics or nullcontext():
        for images, targets in test.epoch(0):
            metric.update(net(images), targets)
    values = metric.compute()
    kinds = ("", "mask ") if task.masks else ("",)
    return {f"{kind}{name}": float(values[f"{kind}{name}"]) for kind in kinds for name in ("mAP", "AP50")}


@torch.no_grad()
def precision_recall(net: nn.Module, task: Detection, test: ObjectBatches) -> dict[str, list[float]]:
    """Return the precision of boxes at the recalls 0, 0.01, …, 1, a mean over classes, at the thresholds 0.5, 0.75."""
    metric = ObjectPrecision(task.classes, masks=False)
    metric.extended_summary = True
    with in_mode(net, training=False):
        for images, targets in test.epoch(0):
            metric.update(net(images), targets)
    precision = metric.values()["precision"]  # thresholds × recalls × classes × sizes × numbers of detections
    shown = precision[..., 0, -1]
    curves = torch.where(shown < 0, torch.nan, shown).nanmean(dim=2)
    return {name: curves[place].tolist() for name, place in (("0.50", 0), ("0.75", 5))}


@torch.no_grad()
def found_in(net: nn.Module, images: Tensor, least_score: float = 0.5) -> list[dict[str, Any]]:
    """Return the objects that a detector finds in each image with at least this score, as plain data."""
    with in_mode(net, training=False):
        return [objects_as_data(found, least_score) for found in net(images)]


def objects_as_data(objects: Target, least_score: float = 0.0) -> dict[str, Any]:
    """Return objects as plain data: boxes (x, y, width, height), labels, scores and masks, the best first."""
    scores = objects.get("scores", torch.ones(len(objects["labels"])))
    kept = [place for place in scores.argsort(descending=True).tolist() if scores[place] >= least_score]
    x1, y1, x2, y2 = objects["boxes"][kept].unbind(dim=1)
    data: dict[str, Any] = {
        "boxes": torch.stack([x1, y1, x2 - x1, y2 - y1], dim=1).tolist(),
        "labels": objects["labels"][kept].tolist(),
        "scores": scores[kept].tolist(),
    }
    if "masks" in objects:
        masks = objects["masks"][kept]
        data["masks"] = to_text((masks.squeeze(1) if masks.ndim == 4 else masks).float() > 0.5)
    return data
