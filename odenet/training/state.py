"""The state of a training: all that changes from step to step, and so all that a checkpoint must hold."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn, optim

from odenet.training.optimizers import graph_options, plain_state
from odenet.training.randomness import random_states, restore_random_states
from odenet.training.tally import Tally
from odenet.training.weights import load_state

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class NonFiniteLoss(FloatingPointError):  # noqa: N818 (as NonFiniteState)
    """The loss of a training step became NaN or infinite: the message says in which epoch and step."""


class TrainingState:
    """Weights, optimizer, random generators, and the place in the training.

    Args:
        model: The network itself, not a wrapped or compiled one: its names are those of the checkpoint.
        optimizer: Of its parameters.
        fabric: Of the process.

    Attributes:
        epoch: Epochs behind it.
        step: Steps of the present epoch behind it.
        seconds: Of training, in the present epoch.
        rows: Of the history.
        tally: Sums over the steps of the present epoch, of this process.
    """

    def __init__(self, model: nn.Module, optimizer: optim.Optimizer, fabric: Fabric) -> None:
        self.model, self.optimizer, self.fabric = model, optimizer, fabric
        self.epoch, self.step, self.seconds = 0, 0, 0.0
        self.rows: list[dict[str, float]] = []
        self.tally = Tally()
        self._options = graph_options(optimizer)
        self._clock = time.perf_counter()

    def steps(self, per_epoch: int) -> int:
        """Steps of all epochs behind it, at `per_epoch` steps an epoch."""
        return self.epoch * per_epoch + self.step

    def count(self, loss: Tensor, score: Tensor, examples: int) -> None:
        """Count a step of `examples` examples."""
        self.tally.add(loss, score, examples)
        self.step += 1

    def settle(self) -> None:
        """Wait for the steps taken, and add their numbers and their time.

        Raises:
            NonFiniteLoss: One of their losses is NaN or infinite.
        """
        bad = self.tally.settle()
        self.seconds += time.perf_counter() - self._clock
        self.start_clock()
        if bad is not None:
            raise self._non_finite(self.step - bad)

    def start_clock(self) -> None:
        """Training begins, or goes on, here: the time since the last call of `settle` does not count."""
        self._clock = time.perf_counter()

    def close_epoch(self, row: dict[str, float]) -> None:
        """End the epoch with its row of the history."""
        self.rows.append(row)
        self.epoch, self.step, self.seconds, self.tally = self.epoch + 1, 0, 0.0, Tally()

    def to_json_data(self) -> dict[str, Any]:
        """All of it, as data that `torch.load(weights_only=True)` reads; under DDP, every process must call it."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "rows": self.rows,
            "processes": self._gathered(
                {"tally": self.tally.to_json_data(), "random": random_states(self.fabric.device)}
            ),
            "model": self.model.state_dict(),
            "optimizer": plain_state(self.optimizer, self._options),
        }

    def restore(self, saved: dict[str, Any], source: str) -> None:
        """Become the state that `to_json_data` described; `source` is where it comes from, for messages.

        Raises:
            WeightsError: It is the state of another network.
        """
        load_state(self.model, saved["model"], source)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.epoch, self.step, self.seconds = saved["epoch"], saved["step"], saved["seconds"]
        self.rows = saved["rows"]
        own = saved["processes"][self.fabric.global_rank]
        self.tally = Tally.from_json_data(own["tally"])
        restore_random_states(own["random"], self.fabric.device)

    def _gathered(self, own: dict[str, Any]) -> list[dict[str, Any]]:
        """What each process has, in the order of ranks."""
        if self.fabric.world_size == 1:
            return [own]
        every: list[Any] = [None] * self.fabric.world_size
        torch.distributed.all_gather_object(every, own)
        return every

    def _non_finite(self, step: int) -> NonFiniteLoss:
        lr = float(self.optimizer.param_groups[0]["lr"])
        return NonFiniteLoss(
            f"the loss is not finite in epoch {self.epoch + 1}, step {step} (learning rate about {lr:.3g}): the "
            "training has diverged or met a bad input. Lower lr, warm up for longer, set gradient_clip, or use "
            "precision='32-true'; with device='cpu', a block says at which t and step its state was lost."
        )
