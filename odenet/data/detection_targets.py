"""Objects in images as torchvision's detectors take them, and the checks that every source of them makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import torch
from torch import Tensor

from odenet.blocks.annotations import MayBeEmpty, Whole
from odenet.blocks.arguments import check_fields

Target: TypeAlias = dict[str, Tensor]
"""Dictionary of the k objects in an image, as torchvision's detectors take it:

- boxes: float32, (k, 4), in pixels: (x1, y1, x2, y2) with 0 ≤ x1 < x2 ≤ width and 0 ≤ y1 < y2 ≤ height;
- labels: int64, (k,), counted from 1;
- masks, for Mask R-CNN: uint8 or bool, (k, height, width);
- iscrowd, where known: int64, (k,), 1 for a box around many objects, from which nothing is learned.
"""


@dataclass(frozen=True, eq=False)
class DetectionTargets:
    """Objects in the n images of a split.

    Attributes:
        of_images: `Target` of each image, all on one device.
        sizes: Height and width of each image, in pixels.

    Raises:
        ValueError: if there are not as many sizes as targets, or there is no image.
    """

    of_images: Annotated[Sequence[Target], MayBeEmpty()]
    sizes: Annotated[Sequence[tuple[Whole, Whole]], MayBeEmpty()]

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.of_images) != len(self.sizes) or not self.sizes:
            raise ValueError(
                f"of_images has the targets of {len(self.of_images)} images, and sizes has {len(self.sizes)} entries: "
                "each image has both; give as many of each, at least one."
            )

    def __len__(self) -> int:
        return len(self.of_images)

    def __iter__(self) -> Iterator[Target]:
        return iter(self.of_images)

    @property
    def device(self) -> torch.device:
        """Device of the targets."""
        return self.of_images[0]["boxes"].device


def require_target(target: object, size: tuple[int, int], where: str) -> None:
    """Check the objects of an image, all but the largest label.

    Args:
        target: Dictionary to check.
        size: Height and width of the image.
        where: Name of the image in messages.

    Raises:
        TypeError: if the target is not a dictionary of tensors, or a tensor has another dtype.
        ValueError: if shapes do not agree, a box is outside of the image or has no area, a mask has another size than
            the image, or a label is less than 1. The message names the image and the object.
    """
    boxes, labels = _tensors(target, where)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or labels.shape != boxes.shape[:1]:
        raise ValueError(
            f"the objects of {where} have boxes of shape {tuple(boxes.shape)} and labels of shape "
            f"{tuple(labels.shape)}: k objects have (k, 4) and (k,), and an image without an object (0, 4) and (0,)."
        )
    for number, box in enumerate(boxes.tolist()):
        require_box(box, size, f"object {number} of {where}")
    if len(labels) and (least := int(labels.min())) < 1:
        raise ValueError(
            f"object {int(labels.argmin())} of {where} has the label {least}: labels count from 1, because 0 is the "
            "background; correct the labels, or leave out the object."
        )
    masks = target.get("masks") if isinstance(target, Mapping) else None
    if masks is not None and tuple(masks.shape) != (len(boxes), *size):
        raise ValueError(
            f"the masks of {where} have the shape {tuple(masks.shape)}: {len(boxes)} objects in an image of "
            f"{size[0]}×{size[1]} pixels have masks of shape {(len(boxes), *size)}; bring masks and image to one size."
        )


def require_box(box: Sequence[float], size: tuple[int, int], where: str) -> None:
    """Check that a box (x1, y1, x2, y2) has an area and lies in an image of `size` (height, width).

    Raises:
        ValueError: if it does not; the message begins with `where`.
    """
    if (fault := fault_of_box(box, size)) is not None:
        raise ValueError(
            f"{where} has the box {tuple(round(side, 2) for side in box)}, {fault}: a box is (x1, y1, x2, y2) in "
            f"pixels, with 0 ≤ x1 < x2 ≤ {size[1]} and 0 ≤ y1 < y2 ≤ {size[0]} here; correct it, or leave out the "
            "object."
        )


def fault_of_box(box: Sequence[float], size: tuple[int, int]) -> str | None:
    """Return what is wrong with a box (x1, y1, x2, y2) in an image of `size` (height, width); `None` if nothing is.

    >>> fault_of_box([2, 0, 1, 3], (4, 5)), fault_of_box([0, 0, 5, 4], (4, 5))
    ('whose corners are in the wrong order', None)
    """
    x1, y1, x2, y2 = box
    height, width = size
    if not all(abs(side) < float("inf") for side in box):
        return "which is not finite"
    if x2 < x1 or y2 < y1:
        return "whose corners are in the wrong order"
    if x2 == x1 or y2 == y1:
        return "which has no area"
    if x1 < 0 or y1 < 0 or x2 > width or y2 > height:
        return f"which leaves the image of {height}×{width} pixels"
    return None


def without_crowds(target: Target) -> Target:
    """Return the objects from which a detector learns: all but the crowds."""
    if "iscrowd" not in target:
        return target
    single = target["iscrowd"] == 0
    return {name: value[single] for name, value in target.items()}


def _tensors(target: object, where: str) -> tuple[Tensor, Tensor]:
    boxes, labels = (target.get(name) if isinstance(target, Mapping) else None for name in ("boxes", "labels"))
    if not isinstance(boxes, Tensor) or not isinstance(labels, Tensor):
        raise TypeError(
            f"the objects of {where} are {_shown(target)}: a detector takes a dictionary with the tensors boxes (k, 4) "
            "and labels (k,)."
        )
    if not boxes.is_floating_point() or labels.dtype != torch.int64:
        raise TypeError(
            f"the objects of {where} have boxes of {boxes.dtype} and labels of {labels.dtype}: pass boxes.float() and "
            "labels.long()."
        )
    return boxes, labels


def _shown(target: object) -> str:
    return f"a dictionary of {', '.join(map(repr, target))}" if isinstance(target, Mapping) else f"{target!r:.60}"
