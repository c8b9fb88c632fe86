"""Mean IoU of trained flows with other steppings and the same weights, against evaluations of the vector fields."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import torch
from torch import nn

from odenet import Adaptive, FixedSteps, configure
from odenet.blocks.replay.replay import frozen_buffers
from odenet.blocks.stepping.base import Stepping
from odenet.data import SceneBatches
from odenet.measure import count_evaluations
from odenet.measure.mode import in_mode
from odenet.training import Segmentation, evaluate

STEPPINGS: Mapping[str, Stepping] = {
    f"{solver}×{steps}": FixedSteps(solver, per_piece=steps)
    for solver, steps in product(("euler", "midpoint", "rk4"), (1, 2, 4))
    if (solver, steps) != ("rk4", 4)
} | {"dopri5": Adaptive("dopri5", rtol=1e-2, atol=1e-2)}
"""Steppings with which flows trained with euler×1 are tested: a solver and its number of steps per piece."""


def under_other_steppings(net: nn.Module, task: Segmentation, test: SceneBatches) -> dict[str, dict[str, Any]]:
    """Measure, for each stepping, evaluations in a pass, and mean IoU with running and with batch statistics."""
    results: dict[str, dict[str, Any]] = {}
    for name, stepping in STEPPINGS.items():
        with configure(net, stepping=stepping):
            running = evaluate(net, task, test)["mean_iou"]
            evaluations = count_evaluations(net)
            results[name] = {"evaluations": evaluations, "mean_iou": running, "by_batch": _by_batch(net, task, test)}
    return results


@torch.no_grad()
def _by_batch(net: nn.Module, task: Segmentation, test: SceneBatches) -> float:
    """Measure the mean IoU with every evaluation of a branch normalized by its own batch, as in training."""
    metric = task.metrics()[task.headline].to(test.split.labels.device)
    with in_mode(net, training=True), frozen_buffers(net):
        for images, masks in test.epoch(0):
            metric.update(net(images), masks)
    return float(metric.compute())
