"""Eager training steps: forward pass, loss, backward pass and the optimizer's step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn, optim

from odenet.training.batches import BatchSource
from odenet.training.settings import Training
from odenet.training.tasks import Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Steps:
    """Training steps that run eagerly.

    Args:
        network: Network returned by `Fabric.setup`.
        descent: Optimizer returned by `Fabric.setup`.
        task: Task with loss and score.
        settings: Settings, of which `gradient_clip` is used.
        fabric: Fabric of the process.
    """

    def __init__(
        self, network: nn.Module, descent: optim.Optimizer, task: Task, settings: Training, fabric: Fabric
    ) -> None:
        self.network, self.descent, self.task = network, descent, task
        self.gradient_clip, self.fabric = settings.gradient_clip, fabric

    def batches(self, train: BatchSource, epoch: int, start: int) -> Iterable[tuple[Any, ...]]:
        """Iterate over the batches start, start + 1, … of an epoch, in the form that `take` accepts."""
        return train.epoch(epoch, start)

    def take(self, batch: tuple[Any, ...]) -> tuple[Tensor, Tensor, int]:
        """Take a step on a batch; return its loss, score and number of examples."""
        inputs, targets = batch
        return *self.step(inputs, targets), len(targets)

    def step(self, inputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
        """Take a step on inputs and targets; return the loss and the score before it."""
        outputs = self.task.outputs(self.network, inputs, targets)
        loss = self.task.loss(outputs, targets)
        self.descent.zero_grad()
        self.fabric.backward(loss)
        if (norm := self.gradient_clip) is not None:
            self.fabric.clip_gradients(self.network, self.descent, max_norm=norm, error_if_nonfinite=False)
        self.descent.step()
        with torch.no_grad():
            return loss.detach(), self.task.score(outputs, targets)
