"""Evaluation: the metrics of a network on a split."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import nn

from odenet.blocks.annotations import Inside
from odenet.blocks.arguments import checked
from odenet.measure.mode import in_mode
from odenet.training.arguments import require_batches, require_model, require_task
from odenet.training.batches import BatchSource
from odenet.training.tasks import Task


@checked
def evaluate(
    model: Annotated[nn.Module, Inside()], task: Annotated[Task, Inside()], batches: BatchSource
) -> dict[str, float]:
    """The mean loss (under "loss") and the metrics of `task` over all of `batches`, weights and modes left as they are.

    The host waits for an accelerator at the end alone, and not for each batch, unless a metric of one's own does. Under
    torchrun every process must call it: the metrics are reduced over all of them.

    Args:
        model: The network, on the device of the batches.
        task: Its loss and metrics.
        batches: The split.

    Raises:
        TypeError: An argument is of another kind, such as a DataLoader for batches.
    """
    from torchmetrics import SumMetric

    require_model(model)
    require_task(task)
    require_batches("batches", batches)
    device = batches.split.labels.device
    metrics = task.metrics().to(device)
    # A NaN is to be reported, not left out; MeanMetric of torchmetrics 1.9 then forgets its weights, so two sums.
    losses, examples = (SumMetric(nan_strategy="disable").to(device) for _ in range(2))
    seen = 0
    with in_mode(model, training=False), torch.inference_mode():
        for inputs, targets in batches.epoch(0):
            outputs = model(inputs)
            losses.update(len(targets) * task.loss(outputs, targets))
            metrics.update(outputs, targets)
            seen += len(targets)
        examples.update(seen)  # once, for it is a copy to the device
        values = {"loss": losses.compute() / examples.compute(), **metrics.compute()}
    return {name: float(value) for name, value in values.items()}
