"""Batches of scenes for training and testing: new scenes in every epoch or fixed ones, with a chosen target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from odenet.blocks.annotations import Whole
from odenet.blocks.arguments import checked
from odenet.blocks.errors import unknown_name
from odenet.data.counts import whole_number
from odenet.data.scenes.batch import TARGETS, SceneBatch
from odenet.data.scenes.scenes import Scenes
from odenet.data.transfer import sent_to

MEAN, STD = 0.5, 0.25
"""Mean and standard deviation that normalise every channel, pixels in [0, 1]: approximately those of scenes."""


@dataclass(frozen=True)
class SceneTargets:
    """Targets of the batches, which a task checks before training.

    Attributes:
        labels: Targets, (n, …); for detectors, `DetectionTargets`.
    """

    labels: Any


class SceneBatches:
    """Batches of normalised scenes with a target, `count` scenes per epoch, each a function of (scenes, epoch, index).

    With `fresh=True`, scenes are drawn on demand: place i of epoch e holds scene e·count + i, and no scene is seen
    twice. Otherwise scene i is at place i of every epoch, drawn once and kept in memory, as for a test set.

    With `world_size` processes (DDP), each batch is cut into as many consecutive shares, and process `rank` draws one
    of them; concatenated, they are the batch of a single process.

    Args:
        scenes: Scenes to draw from; batches live on their device.
        count: Number of scenes in an epoch.
        batch_size: Scenes in a batch over all processes, a multiple of `world_size`.
        target: Name in `TARGETS`: label (n,), labels (n, C) or semantic (n, H, W), int64.
        fresh: Whether every epoch has new scenes.
        rank: Rank of this process, 0 ≤ rank < world_size.
        world_size: Number of processes that share every batch.

    Raises:
        TypeError: if a count is not a whole number.
        ValueError: if a count is out of range, a batch cannot be shared equally, or the target is unknown.

    >>> batches = SceneBatches(Scenes(size=(16, 16)), 10, 4, target="labels")
    >>> [(tuple(images.shape), tuple(labels.shape)) for images, labels in batches.epoch(0)]
    [((4, 3, 16, 16), (4, 4)), ((4, 3, 16, 16), (4, 4)), ((2, 3, 16, 16), (2, 4))]
    """

    @checked
    def __init__(
        self,
        scenes: Scenes,
        count: Whole,
        batch_size: Whole,
        *,
        target: str = "label",
        fresh: bool = False,
        rank: Whole = 0,
        world_size: Whole = 1,
    ) -> None:
        if target not in TARGETS:
            raise unknown_name("target", target, TARGETS)
        self.world_size = whole_number("world_size", world_size, 1, because="it is the number of processes")
        self.rank = whole_number("rank", rank, 0, world_size - 1, because=f"there are {world_size} processes")
        self.count = whole_number("count", count, 1, because="an epoch has at least one scene")
        self.batch_size = whole_number("batch_size", batch_size, 1, because="a batch holds at least one scene")
        self.scenes, self.target, self.fresh = scenes, target, fresh
        last = count - (len(self) - 1) * batch_size
        if batch_size % world_size or last < world_size:
            raise ValueError(
                f"batch_size={batch_size} and count={count} cannot be shared by world_size={world_size} processes: "
                f"each needs its share of every batch, equal in full ones, and the last one has {last}; "
                "give multiples of world_size."
            )
        # The targets of one batch represent all fresh scenes, since these have the same distribution.
        self._kept = self._targeted(scenes.draw(range(min(count, batch_size) if fresh else count)))

    @property
    def split(self) -> SceneTargets:
        """All targets of an epoch if the scenes are fixed; targets of the first batch if they are fresh."""
        return SceneTargets(self._kept[1])

    def __len__(self) -> int:
        """Return the number of batches in an epoch, which is the same for every process."""
        return -(-self.count // self.batch_size)

    @checked
    def epoch(self, epoch: Whole, start: Whole = 0) -> Iterator[tuple[Tensor, Any]]:
        """Iterate over the batches start, start + 1, …, len(self) - 1 of an epoch.

        Yields:
            images: float32, (m, 3, H, W).
            targets: int64, (m, …).
        """
        return (self._computed(sent_to(self.scenes.device, numbers)) for (numbers,) in self.numbers(epoch, start))

    @checked
    def numbers(self, epoch: Whole, start: Whole = 0) -> Iterator[tuple[Tensor]]:
        """Iterate over what decides each batch: the random numbers of fresh scenes, or the places of kept ones."""
        epoch = whole_number("epoch", epoch, 0, because="epochs are counted from 0")
        start = whole_number("start", start, 0, len(self), because=f"an epoch has {len(self)} batches")
        return (self._numbers(epoch, index) for index in range(start, len(self)))

    @checked
    def from_numbers(self, numbers: Tensor) -> tuple[Tensor, Any]:
        """Compute the batch that `numbers`, which lie on the device, decide."""
        return self._computed(numbers)

    def _computed(self, numbers: Tensor) -> tuple[Tensor, Any]:
        if self.fresh:
            return self._finished(*self._targeted(self.scenes.paint(numbers)))
        return self._finished(*(kept.index_select(0, numbers) for kept in self._kept))

    def _finished(self, images: Tensor, *targets: Tensor) -> tuple[Tensor, Any]:
        """Return the batch of these images as bytes, and of what `_targeted` keeps of them."""
        return images.float().sub_(255 * MEAN).div_(255 * STD), targets[0]

    def _numbers(self, epoch: int, index: int) -> tuple[Tensor]:
        first = index * self.batch_size
        size = min(self.batch_size, self.count - first)
        start, stop = (first + size * rank // self.world_size for rank in (self.rank, self.rank + 1))
        if not self.fresh:
            return (torch.arange(start, stop),)
        return (self.scenes.numbers(range(epoch * self.count + start, epoch * self.count + stop)),)

    def _targeted(self, batch: SceneBatch) -> tuple[Tensor, ...]:
        """Return the images and the tensors that the targets are made of, each with a row for every scene."""
        return batch.images, TARGETS[self.target](batch)
