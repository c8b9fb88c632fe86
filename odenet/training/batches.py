"""What the training loop asks of its data: batches that depend on (epoch, index) alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor


class LabelledSplit(Protocol):
    """Anything with all the targets of a split, on the device of its batches."""

    @property
    def labels(self) -> Tensor:
        """The targets, the first axis that of the examples."""
        ...


class BatchSource(Protocol):
    """A split cut into batches: `odenet.data.Batches`, or anything that answers like it."""

    @property
    def split(self) -> LabelledSplit:
        """The split, for its targets."""
        ...

    def __len__(self) -> int:
        """Batches an epoch, the same for every process."""
        ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches (inputs, targets) start, start + 1, … of an epoch, on the device of the training.

        Each is a function of (epoch, index), so that a resumed epoch sees what it would have seen.
        """
        ...
