"""State of a training: everything that changes from step to step, which a checkpoint must hold."""

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
    """Error for a loss that became NaN or infinite; the message names the epoch and step."""


class TrainingState:
    """State of a training: weights, optimizer, random generators, history, and the present epoch and step.

    Args:
        model: Network itself, not a wrapped or compiled one, as the checkpoint uses its parameter names.
        optimizer: Optimizer of its parameters.
        fabric: Fabric of the process.

    Attributes:
        epoch: Number of completed epochs.
        step: Number of completed steps in the present epoch.
        seconds: Time spent in the steps of the present epoch.
        rows: Rows of the history.
        stopped: Whether a callback has ended the training.
        tally: Sums over the steps of the present epoch, in this process.
    """

    def __init__(self, model: nn.Module, optimizer: optim.Optimizer, fabric: Fabric) -> None:
        self.model, self.optimizer, self.fabric = model, optimizer, fabric
        self.epoch, self.step, self.seconds = 0, 0, 0.0
        self.rows: list[dict[str, float]] = []
        self.stopped = False
        self.tally = Tally()
        self._options = graph_options(optimizer)
        self._clock = time.perf_counter()

    def steps(self, per_epoch: int) -> int:
        """Return the number of completed steps in all epochs, with `per_epoch` steps in each."""
        return self.epoch * per_epoch + self.step

    def count(self, loss: Tensor, score: Tensor, examples: int) -> None:
        """Add a step of `examples` examples."""
        self.tally.add(loss, score, examples)
        self.step += 1

    def settle(self) -> None:
        """Wait for the pending steps, and add their losses, scores and time.

        Raises:
            NonFiniteLoss: if one of their losses is NaN or infinite.
        """
        bad = self.tally.settle()
        self.seconds += time.perf_counter() - self._clock
        self.start_clock()
        if bad is not None:
            raise self._non_finite(self.step - bad)

    def start_clock(self) -> None:
        """Start the clock, so that the time since the last call of `settle` is not counted."""
        self._clock = time.perf_counter()

    def close_epoch(self, row: dict[str, float]) -> None:
        """Append the row of the epoch to the history, and begin the next epoch."""
        self.rows.append(row)
        self.epoch, self.step, self.seconds, self.tally = self.epoch + 1, 0, 0.0, Tally()

    def to_json_data(self) -> dict[str, Any]:
        """Return the state as data for `torch.load(weights_only=True)`; under DDP every process must call this."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "rows": self.rows,
            "stopped": self.stopped,
            "processes": self._gathered(
                {"tally": self.tally.to_json_data(), "random": random_states(self.fabric.device)}
            ),
            "model": self.model.state_dict(),
            "optimizer": plain_state(self.optimizer, self._options),
        }

    def restore(self, saved: dict[str, Any], source: str) -> None:
        """Restore the state that `to_json_data` returned; `source` names its origin in messages.

        Raises:
            WeightsError: if it is the state of another network.
        """
        load_state(self.model, saved["model"], source)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.epoch, self.step, self.seconds = saved["epoch"], saved["step"], saved["seconds"]
        self.rows, self.stopped = saved["rows"], saved.get("stopped", False)
        own = saved["processes"][self.fabric.global_rank]
        self.tally = Tally.from_json_data(own["tally"])
        restore_random_states(own["random"], self.fabric.device)

    def _gathered(self, own: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the data of all processes, in the order of ranks."""
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
            "precision='32-true'; with device='cpu', a block reports the t and step of its first non-finite state."
        )
