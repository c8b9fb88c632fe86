"""History: what a training leaves in numbers, one row an epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from odenet.blocks.arguments import checked


@dataclass(frozen=True)
class History:
    """The rows of a training, plain data that JSON holds: `History(**row_data)` reads what `to_json_data` wrote.

    Each row has `epoch` (from 1), `lr` (of its last step), `train_loss` and `train_<headline>` (means over the steps of
    the epoch, while the weights moved), `test_<metric>` for every metric of the task and the loss, after the epoch, and
    `seconds` of training alone: no evaluation, no checkpoints, but the compilation in the first epoch.

    Attributes:
        headline: Name of the metric that counts.
        rows: One an epoch.
        made_from: Fingerprints of the data, the batches, the task, the initial weights and the optimizer handed over.
    """

    headline: str
    rows: list[dict[str, float]]
    made_from: dict[str, str | None] = field(default_factory=dict)

    @property
    def last(self) -> dict[str, float]:
        """The row of the last epoch."""
        return self.rows[-1]

    @checked
    def column(self, name: str) -> list[float]:
        """The values of one name, an epoch each."""
        return [row[name] for row in self.rows]

    @property
    def seconds_per_epoch(self) -> float:
        """The median over the epochs: warming up and compiling, in the first one, do not count."""
        return median(self.column("seconds"))
