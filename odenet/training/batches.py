"""Interface of the data of a training: batches that are functions of (epoch, index)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor


class LabelledSplit(Protocol):
    """Protocol of a split that holds all its targets, on the device of its batches."""

    @property
    def labels(self) -> Tensor:
        """Targets of all examples, along the first axis."""
        ...


class BatchSource(Protocol):
    """Protocol of a split cut into batches, as `odenet.data.Batches` is."""

    @property
    def split(self) -> LabelledSplit:
        """Split that is cut into batches, with its targets."""
        ...

    def __len__(self) -> int:
        """Return the number of batches in an epoch, which is the same for every process."""
        ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over the batches (inputs, targets) start, start + 1, … of an epoch, on the device of the training.

        Each is a function of (epoch, index), so that a resumed epoch sees the batches that it would have seen.
        """
        ...
