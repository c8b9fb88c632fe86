"""History of a training: its losses, metrics and times, one row per epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from odenet.blocks.arguments import checked


@dataclass(frozen=True)
class History:
    """History of a training, plain data for JSON: `History(**data)` reads what `to_json_data` wrote.

    Each row has `epoch` (from 1), `lr` (of its last step), `train_loss` and `train_<headline>` (means over the steps of
    the epoch, with the weights before each step), `validation_<metric>` for the loss and every metric of the task after
    the epoch, and `seconds` of training, without evaluation and checkpoints but with compilation in the first epoch.
    The last row has `test_<metric>` too; without validation batches every row has.

    Attributes:
        headline: Name of the headline metric of the task.
        rows: Rows of the history, one per epoch.
        made_from: Fingerprints of the data, the batches, the task, the initial weights and the given optimizer.
    """

    headline: str
    rows: list[dict[str, float]]
    made_from: dict[str, str | None] = field(default_factory=dict)

    @property
    def last(self) -> dict[str, float]:
        """Row of the last epoch."""
        return self.rows[-1]

    @checked
    def column(self, name: str) -> list[float]:
        """Return the values of one entry, one per epoch."""
        return [row[name] for row in self.rows]

    @property
    def seconds_per_epoch(self) -> float:
        """Median over the epochs of the seconds of training; warm-up and compilation in the first hardly affect it."""
        return median(self.column("seconds"))
