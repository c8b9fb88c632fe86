"""Batches of scenes: images, and the object that each pixel shows, from which all targets are derived."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class SceneBatch:
    """A batch of n scenes with up to K objects of C classes; all targets are functions of (owners, classes).

    Attributes:
        images: Images, uint8, (n, 3, H, W).
        owners: Object that each pixel shows, 1, …, K from back to front, or 0 for ground and clutter: uint8, (n, H, W).
        classes: Class of object k + 1, from 0; -1 if the object does not exist or is hidden: int64, (n, K).
        num_classes: Number of classes C.
        smallest: Smallest visible share of the image for which an object counts in `labels`.
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
        """Masks of the visible pixels of each object, which are disjoint: bool, (n, K, H, W)."""
        numbers = torch.arange(1, self.classes.shape[1] + 1, dtype=torch.uint8, device=self.owners.device)
        return self.owners[:, None] == numbers.view(-1, 1, 1)

    @cached_property
    def areas(self) -> Tensor:
        """Number of visible pixels of each object: int64, (n, K)."""
        return visible_areas(self.owners, self.classes.shape[1])

    @property
    def semantic(self) -> Tensor:
        """Class of each pixel, numbered from 1; 0 for ground and clutter: int64, (n, H, W)."""
        values = torch.nn.functional.pad(self.classes + 1, (1, 0)).clamp(min=0)
        return values.gather(1, self.owners.flatten(1).long()).view(self.owners.shape)

    @property
    def label(self) -> Tensor:
        """Class of the object with the largest visible area; of equally large ones, the front-most: int64, (n,)."""
        objects = self.classes.shape[1]
        rank = objects * self.areas + torch.arange(objects, device=self.areas.device)  # without ties
        return self.classes.gather(1, rank.argmax(1, keepdim=True)).squeeze(1)

    @property
    def labels(self) -> Tensor:
        """Indicators of the visible classes: int64, (n, C), 0 or 1.

        A class is visible if one of its objects shows at least `smallest` of the image, or if it is `label`, so that at
        least one class is.
        """
        height, width = self.owners.shape[1:]
        seen = self.areas >= self.smallest * height * width
        seen |= self.areas == self.areas.amax(1, keepdim=True)
        marks = self.classes.new_zeros(len(self), self.num_classes + 1)
        return marks.scatter_(1, torch.where(seen, self.classes + 1, 0), 1)[:, 1:].contiguous()

    @property
    def boxes(self) -> Tensor:
        """Bounding box of the visible pixels of each object: float32, (n, K, 4), zeros if none is visible.

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
"""Targets on which a network can be trained, by name: one class, many classes, or the class of every pixel."""


def visible_areas(owners: Tensor, objects: int) -> Tensor:
    """Count the pixels of (n, H, W) that belong to each of the objects 1, …, `objects`: int64, (n, objects)."""
    return torch.stack([(owners == number).sum((1, 2)) for number in range(1, objects + 1)], dim=1)


def _ends(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first marked place along the last axis and the place after the last one; 0 and 0 if none is marked."""
    place = torch.arange(1, occupied.shape[-1] + 1, device=occupied.device)
    last = (occupied * place).amax(-1)
    first = (occupied * place.flip(0)).amax(-1)
    return torch.where(last > 0, occupied.shape[-1] - first, 0).float(), last.float()
