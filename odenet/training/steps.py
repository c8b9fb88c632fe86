"""Training steps: forward pass, loss, backward pass and the optimizer's step, one kernel after the other."""

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
    """Takes the steps of a training.

    Args:
        network: The network as Fabric has set it up.
        descent: The optimizer as Fabric has set it up.
        task: Loss and score.
        settings: Their `gradient_clip` counts.
        fabric: Of the process.
    """

    def __init__(
        self, network: nn.Module, descent: optim.Optimizer, task: Task, settings: Training, fabric: Fabric
    ) -> None:
        self.network, self.descent, self.task = network, descent, task
        self.gradient_clip, self.fabric = settings.gradient_clip, fabric

    def batches(self, train: BatchSource, epoch: int, start: int) -> Iterable[tuple[Tensor, ...]]:
        """The batches of an epoch from `start` on, each as `take` takes it."""
        return train.epoch(epoch, start)

    def take(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, int]:
        """Take a step on a batch; return its loss, its score and its number of examples."""
        inputs, targets = batch
        return *self.step(inputs, targets), len(targets)

    def step(self, inputs: Any, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Take a step on these inputs and targets; return the loss and the score before it."""
        outputs = self.network(inputs)
        loss = self.task.loss(outputs, targets)
        self.descent.zero_grad()
        self.fabric.backward(loss)
        if (norm := self.gradient_clip) is not None:
            self.fabric.clip_gradients(self.network, self.descent, max_norm=norm, error_if_nonfinite=False)
        self.descent.step()
        with torch.no_grad():
            return loss.detach(), self.task.score(outputs, targets)
