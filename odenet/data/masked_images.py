"""Images with masks in files, of any sizes: in a folder of your own, or VOC 2012."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from odenet.blocks.annotations import Inside, MayBeEmpty, Whole, WholeFromZero
from odenet.blocks.arguments import check_fields, checked
from odenet.blocks.errors import OdenetWarning
from odenet.data.class_names import class_names
from odenet.data.counts import whole_number
from odenet.data.extras import data_package
from odenet.data.image_files import is_turned, read_mask, read_picture

IGNORED = 255
"""Mask value of ignored pixels, neither learned nor tested, as in VOC: `Segmentation(…, ignore_index=IGNORED)`."""

VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""Names of the 21 classes of VOC, in the order of their numbers."""

_IMAGES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class MaskedImages:
    """Pairs (image, mask) of files, which are read on access.

    Attributes:
        images: Files of n ≥ 1 images, read by `odenet.data.image_files.read_picture`.
        masks: Files of the masks, in the same order: grey or palette PNGs whose pixels are class numbers, or 255 for
            ignored pixels.
        classes: Names of the K ≤ 255 classes.
        values: Value of each class in the masks, if that is not its number: (0, 255) for two classes in black and
            white. If 255 is not among the values, it still marks ignored pixels.

    Raises:
        TypeError: if `classes` is not a sequence of names.
        ValueError: if there is no image, not one mask per image, or not one value per class.
    """

    images: Annotated[tuple[Path, ...], MayBeEmpty()]
    masks: Annotated[tuple[Path, ...], MayBeEmpty()]
    classes: Annotated[tuple[str, ...], Inside()]
    values: Annotated[tuple[Whole, ...], MayBeEmpty()] | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        for name, value in {
            "images": tuple(map(Path, self.images)),
            "masks": tuple(map(Path, self.masks)),
            "classes": class_names(self.classes),
            "values": None if self.values is None else tuple(self.values),
        }.items():
            object.__setattr__(self, name, value)
        if not self.images or len(self.images) != len(self.masks):
            raise ValueError(
                f"{len(self.images)} images and {len(self.masks)} masks do not form pairs: each image has one mask; "
                "give at least one image, and as many masks as images."
            )
        if len(self.classes) > IGNORED:
            raise ValueError(
                f"{len(self.classes)} classes are too many: number {IGNORED} marks ignored pixels; name at most "
                f"{IGNORED}."
            )
        if self.values is not None:
            _check_values(self.values, self.classes)

    def __len__(self) -> int:
        return len(self.images)

    @checked
    def read(self, index: WholeFromZero) -> tuple[Tensor, Tensor]:
        """Read pair `index`: an image, uint8 (3, H, W), and class numbers, int64 (H, W), 255 for ignored pixels.

        A mask that is 255 everywhere gives an `OdenetWarning`.

        Raises:
            ValueError: if a file is damaged, image and mask differ in size, or the mask is in colour or has a value
                that belongs to no class.
        """
        whole_number("index", index, 0, len(self) - 1, because=f"there are {len(self)} images")
        pixels, classes = read_picture(self.images[index]), self._classes_in(self.masks[index])
        if pixels.shape[1:] != classes.shape:
            raise ValueError(
                f"the mask '{self.masks[index]}' of {_times(classes)} pixels cannot go with the image "
                f"'{self.images[index].name}' of {_times(pixels[0])}{self._turn_note(index)}: each pixel has a class; "
                "bring both to one size."
            )
        if classes.min() == IGNORED:
            warnings.warn(
                f"the mask '{self.masks[index]}' is {IGNORED} everywhere, so all its pixels are ignored and its image "
                "teaches and tests nothing: correct the mask, or leave the pair out.",
                OdenetWarning,
                stacklevel=2,
            )
        return pixels, classes

    @cached_property
    def shown(self) -> frozenset[int]:
        """Numbers of the classes that occur in the masks, and 255 if some pixels are ignored.

        The masks are read one after the other until every class has been seen: soon, unless a class is rare.
        """
        seen: set[int] = set()
        for mask in self.masks:
            seen.update(self._classes_in(mask).flatten().bincount().nonzero().flatten().tolist())
            if len(seen - {IGNORED}) == len(self.classes):
                break
        return frozenset(seen)

    @property
    def absent(self) -> tuple[str, ...]:
        """Names of the classes that occur in no mask."""
        return tuple(name for number, name in enumerate(self.classes) if number not in self.shown)

    def require_shown(self) -> None:
        """Check that something can be learned from the masks, and that black-and-white masks have `values`.

        Raises:
            ValueError: if every pixel of all masks is 255, or every pixel is 0 or 255 although there are several
                classes and no `values`.
        """
        if self.shown == {IGNORED}:
            raise ValueError(
                f"the masks, the first being '{self.masks[0]}', are {IGNORED} everywhere, which marks ignored pixels: "
                f"there is nothing to learn. If {IGNORED} stands for a class, give the value of each class, values="
                f"{_black_and_white(self.classes)}; otherwise correct the masks."
            )
        if self.values is None and self.shown == {0, IGNORED} and len(self.classes) > 1:
            raise ValueError(
                f"the masks, the first being '{self.masks[0]}', contain only the values 0 and {IGNORED}, and {IGNORED} "
                f"marks ignored pixels: of the classes {', '.join(self.classes)} only {self.classes[0]} would remain. "
                f"If {IGNORED} stands for a class, as in masks saved in black and white, give the value of each class: "
                f"values={_black_and_white(self.classes)}. Otherwise confirm the class numbers by values="
                f"{tuple(range(len(self.classes)))}."
            )

    def _classes_in(self, mask: Path) -> Tensor:
        """Read a mask and convert its values to class numbers."""
        given, values = read_mask(mask), self.values or tuple(range(len(self.classes)))
        numbers = torch.full((max(*values, IGNORED) + 1,), -1)
        numbers[IGNORED] = IGNORED
        numbers[list(values)] = torch.arange(len(values))
        least, most = (int(bound) for bound in given.aminmax())
        bad = [value for value in (least, most) if not 0 <= value < len(numbers)]
        classes = given if bad else numbers.index_select(0, given.flatten()).view_as(given)
        if bad := bad or given[classes < 0].tolist():
            which = "numbered from 0" if self.values is None else f"with the values {', '.join(map(str, values))}"
            raise ValueError(
                f"the mask '{mask}' has the value {bad[0]}, which is neither one of {len(values)} classes, {which}, "
                f"nor {IGNORED} for ignored pixels: correct the mask, name all classes, or give the value of each "
                "class in the masks by values=(…)."
            )
        return classes

    def _turn_note(self, index: int) -> str:
        if not is_turned(self.images[index]):
            return ""
        return ", which its EXIF orientation turns upright, as the mask must be turned too"


@checked
def masked_folder(
    folder: str | os.PathLike[str], classes: Annotated[Sequence[str], Inside()], values: Sequence[Whole] | None = None
) -> MaskedImages:
    """Find the pairs folder/images/NAME.png (or .jpg) and folder/masks/NAME.png by their names.

    Masks are read until every class has been seen; `CropBatches` warns of a class that never is.

    Args:
        folder: Folder that contains `images` and `masks`.
        classes: Names of the classes.
        values: Value of each class in the masks, if that is not its number: (0, 255) for two classes in black and
            white.

    Raises:
        FileNotFoundError: if there are no images, or an image has no mask.
        ValueError: if two images have the same name, a mask cannot be read, every pixel of the masks is ignored, or the
            masks contain only 0 and 255 and `values` does not say which class 255 is.
    """
    folder = Path(folder)
    images = sorted(file for file in (folder / "images").glob("*") if file.suffix.lower() in _IMAGES)
    masks = [folder / "masks" / f"{file.stem}.png" for file in images]
    missing = [mask for mask in masks if not mask.is_file()]
    if not images or missing:
        what = f"lacks {missing[0].name} ({len(missing)} masks in all)" if images else "has no images"
        raise FileNotFoundError(
            f"'{folder}' {what}: put images, PNG or JPEG, into '{folder / 'images'}', and for each a PNG of the same "
            f"name into '{folder / 'masks'}'."
        )
    if duplicates := [one for one, other in pairwise(images) if one.stem == other.stem]:
        raise ValueError(
            f"'{folder}' has two images with the mask '{duplicates[0].stem}.png': pairs are found by name; give each "
            "image a name of its own."
        )
    _warn_of_masks_without_image(folder / "masks", masks)
    pairs = MaskedImages(tuple(images), tuple(masks), class_names(classes), None if values is None else tuple(values))
    pairs.require_shown()
    return pairs


@checked
def voc2012(root: str | os.PathLike[str], part: str = "train", *, download: bool = True) -> MaskedImages:
    """Find the images and masks of VOC 2012 with its 21 classes through torchvision.

    Args:
        root: Folder of the data sets, in torchvision's layout: root/VOCdevkit/VOC2012.
        part: Part of the images: `train` (1,464 images), `val` (1,449 images) or `trainval`.
        download: Whether to download the images (2 GB, verified by torchvision) if the folder does not exist.

    Raises:
        FileNotFoundError: if the images are missing and were not or could not be downloaded.
    """
    dataset = data_package("torchvision.datasets").VOCSegmentation
    exists = (Path(root) / "VOCdevkit" / "VOC2012").is_dir()
    try:
        found = dataset(str(root), year="2012", image_set=part, download=download and not exists)
    except (RuntimeError, OSError) as error:
        raise FileNotFoundError(
            f"VOC 2012 was requested, but '{root}' lacks VOCdevkit/VOC2012 or its lists ({error}). Unpack "
            "VOCtrainval_11-May-2012.tar there, or give the folder that contains it by --data-root or by the "
            "environment variable ODENET_DATA."
        ) from error
    pairs = MaskedImages(tuple(map(Path, found.images)), tuple(map(Path, found.masks)), VOC_CLASSES)
    if missing := [file for file in (*pairs.images, *pairs.masks) if not file.is_file()]:
        raise FileNotFoundError(
            f"VOC 2012 was requested, but '{root}' lacks {len(missing)} of the {2 * len(pairs)} files in its list "
            f"{part}, the first being '{missing[0]}': the archive was unpacked only in part. Unpack "
            "VOCtrainval_11-May-2012.tar again."
        )
    return pairs


def _warn_of_masks_without_image(folder: Path, masks: list[Path]) -> None:
    if alone := sorted(set(folder.glob("*.png")) - set(masks)):
        warnings.warn(
            f"{len(alone)} masks in '{folder}', the first being '{alone[0].name}', have no PNG or JPEG image of the "
            "same name and are left out: save their images as PNG or JPEG, or remove the masks.",
            OdenetWarning,
            stacklevel=3,
        )


def _check_values(values: tuple[int, ...], classes: tuple[str, ...]) -> None:
    for value in values:
        whole_number("values", value, 0, 2**16 - 1, because="the pixels of a mask hold numbers of up to 16 bits")
    if len(values) != len(classes) or len(set(values)) < len(values):
        raise ValueError(
            f"values={values} cannot stand for the classes {', '.join(classes)}: each class has a value of its own in "
            f"the masks; give {len(classes)} different numbers, in the order of the classes."
        )


def _black_and_white(classes: tuple[str, ...]) -> str:
    """Return an example of `values` for black-and-white masks, for messages."""
    return "(0, 255)" if len(classes) == 2 else "(0, …, 255)"


def _times(pixels: Tensor) -> str:
    return f"{pixels.shape[0]}×{pixels.shape[1]}"
