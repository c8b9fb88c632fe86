"""Images in files with the objects in them, of any sizes: in COCO's format, or VOC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor

from odenet.blocks.annotations import Inside, MayBeEmpty, Whole, WholeFromZero
from odenet.blocks.arguments import check_fields, checked
from odenet.data.class_names import class_names
from odenet.data.counts import whole_number
from odenet.data.detection_targets import DetectionTargets, Target, require_target
from odenet.data.extras import data_package
from odenet.data.image_files import is_turned, read_picture


class ObjectInFile(NamedTuple):
    """An object as a file describes it."""

    box: tuple[float, float, float, float]
    """Box (x1, y1, x2, y2) in pixels."""
    label: int
    """Number of its class, from 1."""
    crowd: bool = False
    """Whether the box surrounds many objects, from which nothing is learned."""
    outline: Any = None
    """Mask in COCO's format: polygons, or run lengths, compressed or not; None if there is none."""


@dataclass(frozen=True)
class DetectionImages:
    """Images of files and the objects in them; the images are read on access.

    Attributes:
        images: Files of n ≥ 1 images, read by `odenet.data.image_files.read_picture`.
        sizes: Height and width of each image, in pixels.
        objects: Objects of each image; an image may have none.
        classes: Names of the K classes; label k means `classes[k - 1]`.

    Raises:
        TypeError: if `classes` is not a sequence of names.
        ValueError: if there is no image, not one size and one sequence of objects per image, or an object has a bad box
            or label; the message names the file and the object.
    """

    images: Annotated[tuple[Path, ...], MayBeEmpty()]
    sizes: Annotated[tuple[tuple[Whole, Whole], ...], MayBeEmpty()]
    objects: Annotated[tuple[tuple[ObjectInFile, ...], ...], MayBeEmpty()]
    classes: Annotated[tuple[str, ...], Inside()]

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "classes", class_names(self.classes))
        if not len(self.images) == len(self.sizes) == len(self.objects) > 0:
            raise ValueError(
                f"images has {len(self.images)} entries, sizes {len(self.sizes)}, and objects {len(self.objects)}: "
                "each image has a size, and a sequence of objects that may be empty; give at least one image."
            )
        for file, size, objects in zip(self.images, self.sizes, self.objects, strict=True):
            require_target(_without_masks(objects), size, f"'{file}'")
            for number, entry in enumerate(objects):
                if entry.label > len(self.classes):
                    raise ValueError(
                        f"object {number} of '{file}' has the label {entry.label}: there are {len(self.classes)} "
                        "classes, numbered from 1; correct the label, or name all classes."
                    )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def targets(self) -> DetectionTargets:
        """Objects of all images, without their masks."""
        return DetectionTargets([_without_masks(objects) for objects in self.objects], list(self.sizes))

    @checked
    def read(self, index: WholeFromZero, *, masks: bool = False) -> tuple[Tensor, Target]:
        """Read image `index`, uint8 (3, H, W), and its objects.

        Args:
            index: Number of the image, from 0.
            masks: Whether to make the masks of the objects, uint8, too.

        Raises:
            ValueError: if the file is damaged or has another size than its objects, or an object has no mask.
        """
        whole_number("index", index, 0, len(self) - 1, because=f"there are {len(self)} images")
        file, size, objects = self.images[index], self.sizes[index], self.objects[index]
        pixels = read_picture(file)
        if tuple(pixels.shape[1:]) != tuple(size):
            turned = ", turned upright as its EXIF orientation says," if is_turned(file) else ""
            raise ValueError(
                f"'{file}'{turned} has {pixels.shape[1]}×{pixels.shape[2]} pixels, and its objects were marked in an "
                f"image of {size[0]}×{size[1]}: bring both to one size."
            )
        target = _without_masks(objects)
        if masks:
            drawn = [mask_of(entry.outline, size, f"object {k} of '{file}'") for k, entry in enumerate(objects)]
            target["masks"] = torch.stack(drawn) if drawn else torch.zeros(0, *size, dtype=torch.uint8)
            require_target(target, size, f"'{file}'")
        return pixels, target


def mask_of(outline: Any, size: tuple[int, int], where: str) -> Tensor:
    """Draw the mask of an object, uint8 (height, width), from COCO's polygons or run lengths.

    Args:
        outline: List of polygons [x1, y1, x2, y2, …], or a dictionary with `size` and `counts`.
        size: Height and width of the image.
        where: Name of the object in messages.

    Raises:
        ValueError: if there is no outline, or it cannot be drawn in an image of this size.
    """
    codes = data_package("faster_coco_eval.core.mask")
    height, width = size
    try:
        if isinstance(outline, dict):
            if list(outline["size"]) != [height, width]:
                raise ValueError(f"its run lengths are for an image of size {outline['size']}")
            packed = (
                outline if isinstance(outline["counts"], str | bytes) else codes.frPyObjects(outline, height, width)
            )
        else:
            if not outline:
                raise ValueError("it has none")
            if any(len(polygon) < 6 or len(polygon) % 2 for polygon in outline):
                raise ValueError("a polygon has three points or more, and two numbers for each")
            packed = codes.merge(codes.frPyObjects(outline, height, width))
        return torch.from_numpy(codes.decode(packed)).to(torch.uint8)
    except (ValueError, TypeError, KeyError, IndexError, RuntimeError) as error:
        raise ValueError(
            f"the mask of {where} cannot be drawn in an image of {height}×{width} pixels ({error}): COCO's masks are "
            "lists of polygons [x1, y1, x2, y2, …] or run lengths with size [height, width] and counts; correct it, or "
            "train on boxes alone, with masks=False."
        ) from error


def _without_masks(objects: Sequence[ObjectInFile]) -> Target:
    return {
        "boxes": torch.tensor([entry.box for entry in objects], dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor([entry.label for entry in objects], dtype=torch.int64),
        "iscrowd": torch.tensor([entry.crowd for entry in objects], dtype=torch.int64),
    }
