"""Sums over the steps of an epoch, which are read from the device only now and then.

torchmetrics' `MeanMetric` does not serve here: without its checks for NaN, which wait for the device in every step, it
forgets the weights (1.9), and on a CPU its update takes ten times as long (180 against 16 µs a step).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Tally:
    """Sums Σ n·ℓ, Σ n·score and Σ n over the steps of an epoch, n the number of examples of a step.

    To read a number from an accelerator, the host waits until all queued work is done. So the numbers stay there until
    `settle`. The sums are formed on the host, step by step, so that they do not depend on when `settle` is called.

    Attributes:
        loss: Σ n·ℓ.
        score: Σ n·score.
        examples: Σ n.
    """

    def __init__(self) -> None:
        self.loss, self.score, self.examples = 0.0, 0.0, 0
        self._pending: list[tuple[Tensor, Tensor, int]] = []

    def add(self, loss: Tensor, score: Tensor, examples: int) -> None:
        """Add a step, without waiting for its numbers."""
        self._pending.append((loss.detach(), score.detach(), examples))

    def settle(self) -> int | None:
        """Read the pending numbers.

        Returns:
            Number of steps from the first whose loss is not finite to the last; `None` if all are finite.
        """
        if not self._pending:
            return None
        losses, scores, counts = zip(*self._pending, strict=True)
        self._pending.clear()
        values = torch.stack(losses).tolist()
        for loss, score, n in zip(values, torch.stack(scores).tolist(), counts, strict=True):
            self.loss, self.score, self.examples = self.loss + n * loss, self.score + n * score, self.examples + n
        bad = [place for place, loss in enumerate(reversed(values)) if not math.isfinite(loss)]
        return bad[-1] if bad else None

    def means(self, fabric: Fabric | None = None) -> tuple[float, float]:
        """Return the mean loss and score of all examples so far; with `fabric`, of all processes, which all call it."""
        loss, score, examples = self.loss, self.score, float(self.examples)
        if fabric is not None and fabric.world_size > 1:
            sums = torch.tensor([loss, score, examples], dtype=torch.float64, device=fabric.device)
            torch.distributed.all_reduce(sums)
            loss, score, examples = sums.tolist()
        return loss / max(examples, 1), score / max(examples, 1)

    def to_json_data(self) -> dict[str, float]:
        """Return the sums for a checkpoint; call `settle` first."""
        return {"loss": self.loss, "score": self.score, "examples": self.examples}

    @classmethod
    def from_json_data(cls, sums: dict[str, float]) -> Tally:
        """Make the tally with these sums."""
        tally = cls()
        tally.loss, tally.score, tally.examples = sums["loss"], sums["score"], int(sums["examples"])
        return tally
