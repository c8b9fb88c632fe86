"""Evaluation of a network: its mean loss and metrics on a split."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import nn

from odenet.blocks.annotations import Inside
from odenet.blocks.arguments import checked
from odenet.blocks.extras import Extra
from odenet.measure.mode import in_mode
from odenet.training.arguments import require_batches, require_model, require_task
from odenet.training.batches import BatchSource
from odenet.training.tasks import Task


@checked
def evaluate(
    model: Annotated[nn.Module, Inside()], task: Annotated[Task, Inside()], batches: BatchSource
) -> dict[str, float]:
    """Return the mean loss (key "loss") and the metrics of `task` over all of `batches`; weights and modes are kept.

    There is no loss for a task whose networks compute it in training mode only, as detectors.

    The host waits for an accelerator only at the end, not at each batch, unless a user-defined metric makes it wait.
    Under torchrun every process must call this function, because the metrics are reduced over all processes.

    Args:
        model: Network, on the device of the batches.
        task: Task with the loss and metrics.
        batches: Batches of the split to evaluate on.

    Raises:
        TypeError: if an argument has the wrong type, such as a DataLoader for `batches`.
        ValueError: if there is no batch.
    """
    with Extra("experiments"):
        from torchmetrics import SumMetric

    require_model(model)
    require_task(task)
    require_batches("batches", batches)
    device = batches.split.labels.device
    metrics = task.metrics().to(device)
    # A NaN must be reported, not left out. With that option MeanMetric of torchmetrics 1.9 ignores its weights, so the
    # mean is computed from two sums.
    losses, examples = (SumMetric(nan_strategy="disable").to(device) for _ in range(2))
    seen = 0
    with in_mode(model, training=False), torch.inference_mode():
        for inputs, targets in batches.epoch(0):
            outputs = task.outputs(model, inputs, targets)
            if task.answers_in_training:
                losses.update(len(targets) * task.loss(outputs, targets))
            metrics.update(outputs, targets)
            seen += len(targets)
        examples.update(seen)  # only once, because it is a copy to the device
        mean = {"loss": losses.compute() / examples.compute()} if task.answers_in_training else {}
        values = mean | metrics.compute()
    return {name: float(value) for name, value in values.items()}
