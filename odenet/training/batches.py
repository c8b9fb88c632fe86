"""Interface of the data of a training: batches that are functions of (epoch, index)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch


class Targets(Protocol):
    """Protocol of the targets of a split: a tensor, or `odenet.data.DetectionTargets`."""

    @property
    def device(self) -> torch.device:
        """Device of the targets."""
        ...

    def __len__(self) -> int:
        """Return the number of examples."""
        ...


class LabelledSplit(Protocol):
    """Protocol of a split that holds all its targets, on the device of its batches."""

    @property
    def labels(self) -> Targets:
        """Targets of all examples, which the task checks: a tensor with the examples along its first axis, or such."""
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

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Any, Any]]:
        """Iterate over the batches (inputs, targets) start, start + 1, … of an epoch, on the device of the training.

        Inputs and targets are what the network and the task take, and `len(targets)` is the number of examples.

        Each is a function of (epoch, index), so that a resumed epoch sees the batches that it would have seen.
        """
        ...
