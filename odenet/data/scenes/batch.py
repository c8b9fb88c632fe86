"""A batch of scenes: images, and for every pixel the object that it shows, from which each target is derived."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class SceneBatch:
    """n scenes of up to K objects of C classes; all targets are functions of (owners, classes).

    Attributes:
        images: uint8, (n, 3, H, W).
        owners: uint8, (n, H, W): the object that the pixel shows, 1, …, K from back to front; 0 for ground and clutter.
        classes: int64, (n, K): the class of object k + 1, from 0; -1 where there is none, or nothing of it to be seen.
        num_classes: C.
        smallest: The share of the image from which on an object counts in `labels`.
    """

    images: Tensor
    owners: Tensor
    classes: Tensor
    num_classes: int
    smallest: float

    def __len__(self) -> int:
        return len(self.images)

    @property
    def instances(self) -> Tensor:
        """The visible pixels of each object, disjoint: bool, (n, K, H, W)."""
        numbers = torch.arange(1, self.classes.shape[1] + 1, dtype=torch.uint8, device=self.owners.device)
        return self.owners[:, None] == numbers.view(-1, 1, 1)

    @cached_property
    def areas(self) -> Tensor:
        """Visible pixels of each object: int64, (n, K)."""
        return visible_areas(self.owners, self.classes.shape[1])

    @property
    def semantic(self) -> Tensor:
        """The class of each pixel from 1 on, 0 for ground and clutter: int64, (n, H, W)."""
        values = torch.nn.functional.pad(self.classes + 1, (1, 0)).clamp(min=0)
        return values.gather(1, self.owners.flatten(1).long()).view(self.owners.shape)

    @property
    def label(self) -> Tensor:
        """The class of the object with the largest visible area, the front-most of equals: int64, (n,)."""
        objects = self.classes.shape[1]
        rank = objects * self.areas + torch.arange(objects, device=self.areas.device)  # no two are equal
        return self.classes.gather(1, rank.argmax(1, keepdim=True)).squeeze(1)

    @property
    def labels(self) -> Tensor:
        """Which classes can be seen: int64, (n, C), 0 or 1.

        Those with an object of which at least `smallest` of the image is visible, and `label`: never none.
        """
        height, width = self.owners.shape[1:]
        seen = self.areas >= self.smallest * height * width
        seen |= self.areas == self.areas.amax(1, keepdim=True)
        marks = self.classes.new_zeros(len(self), self.num_classes + 1)
        return marks.scatter_(1, torch.where(seen, self.classes + 1, 0), 1)[:, 1:].contiguous()

    @property
    def boxes(self) -> Tensor:
        """The smallest box around what is visible of each object: float32, (n, K, 4), zeros where nothing is.

        (x1, y1, x2, y2) in pixels, 0 ≤ x1 < x2 ≤ W and 0 ≤ y1 < y2 ≤ H, as torchvision's detectors take them: the edges
        of the pixels, so that one pixel is a box of area 1.
        """
        instances = self.instances
        (x1, x2), (y1, y2) = (_ends(instances.any(axis)) for axis in (2, 3))
        return torch.stack([x1, y1, x2, y2], dim=2)


TARGETS: Mapping[str, Callable[[SceneBatch], Tensor]] = {
    "label": lambda batch: batch.label,
    "labels": lambda batch: batch.labels,
    "semantic": lambda batch: batch.semantic,
}
"""What a network can be trained on, by name: one class, many classes, or the class of every pixel."""


def visible_areas(owners: Tensor, objects: int) -> Tensor:
    """How many pixels of (n, H, W) belong to each of the objects 1, …, `objects`: int64, (n, objects)."""
    return torch.stack([(owners == number).sum((1, 2)) for number in range(1, objects + 1)], dim=1)


def _ends(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """First, and one after the last, of the places marked along the last axis; 0 and 0 if none is."""
    place = torch.arange(1, occupied.shape[-1] + 1, device=occupied.device)
    last = (occupied * place).amax(-1)
    first = (occupied * place.flip(0)).amax(-1)
    return torch.where(last > 0, occupied.shape[-1] - first, 0).float(), last.float()
