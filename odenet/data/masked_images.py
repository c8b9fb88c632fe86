"""Images with masks in files, of any sizes: a folder of one's own, or VOC 2012."""

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
"""The value of masks that is neither learned nor judged, as in VOC: `Segmentation(…, ignore_index=IGNORED)`."""

VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The 21 classes of VOC, in the order of their numbers."""

_IMAGES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class MaskedImages:
    """Pairs (image, mask) of files; an image is read when it is asked for.

    Attributes:
        images: files of n ≥ 1 images, read by `odenet.data.image_files.read_picture`.
        masks: files of their masks, in the same order: grey or palette PNGs whose pixels are class numbers, or 255
            where nothing is to be judged.
        classes: names of the K ≤ 255 classes.
        values: the value that each class has in the masks, if that is not its number: (0, 255) for two classes in black
            and white. If 255 is not among them, it still means that nothing is to be judged.

    Raises:
        TypeError: the names of the classes are none.
        ValueError: there is no image, not one mask for each, or not one value for each class.
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
                f"{len(self.images)} images and {len(self.masks)} masks cannot be pairs: name at least one image, and "
                "one mask for each."
            )
        if len(self.classes) > IGNORED:
            raise ValueError(
                f"{len(self.classes)} classes cannot be: number {IGNORED} stands for pixels that are not judged; name "
                f"at most {IGNORED}."
            )
        if self.values is not None:
            _check_values(self.values, self.classes)

    def __len__(self) -> int:
        return len(self.images)

    @checked
    def read(self, index: WholeFromZero) -> tuple[Tensor, Tensor]:
        """Pair `index`: uint8 (3, H, W) and int64 (H, W), class numbers, and 255 where nothing is to be judged.

        A mask that is 255 everywhere gives an `OdenetWarning`.

        Raises:
            ValueError: a file is damaged, image and mask differ in size, or the mask is in colour or has a value that
                is no class.
        """
        whole_number("index", index, 0, len(self) - 1, because=f"there are {len(self)} images")
        pixels, classes = read_picture(self.images[index]), self._classes_in(self.masks[index])
        if pixels.shape[1:] != classes.shape:
            raise ValueError(
                f"the mask '{self.masks[index]}' of {_times(classes)} pixels cannot go with the image "
                f"'{self.images[index].name}' of {_times(pixels[0])}{self._turn(index)}: each pixel has one class; "
                "bring both to one size."
            )
        if classes.min() == IGNORED:
            warnings.warn(
                f"the mask '{self.masks[index]}' is {IGNORED} everywhere, which means that nothing is to be judged, so "
                "its image teaches and tests nothing: correct it, or leave the pair out.",
                OdenetWarning,
                stacklevel=2,
            )
        return pixels, classes

    @cached_property
    def shown(self) -> frozenset[int]:
        """The numbers of the classes that the masks show, and 255 if some pixels are not to be judged.

        The masks are read one after the other until every class has been seen: soon, unless one of them is rare.
        """
        seen: set[int] = set()
        for mask in self.masks:
            seen.update(self._classes_in(mask).flatten().bincount().nonzero().flatten().tolist())
            if len(seen - {IGNORED}) == len(self.classes):
                break
        return frozenset(seen)

    @property
    def absent(self) -> tuple[str, ...]:
        """The names of the classes that no mask shows."""
        return tuple(name for number, name in enumerate(self.classes) if number not in self.shown)

    def require_shown(self) -> None:
        """Refuse masks from which nothing can be learned, and those in black and white of which only the black counts.

        Raises:
            ValueError: every pixel of all masks is 255, or each is 0 or 255 and several classes were named.
        """
        if self.shown == {IGNORED}:
            raise ValueError(
                f"the masks, the first being '{self.masks[0]}', are {IGNORED} everywhere, which means that nothing is "
                f"to be judged: there is nothing to learn. If {IGNORED} stands for a class, say which value each class "
                f"has, values={_black_and_white(self.classes)}; else correct the masks."
            )
        if self.values is None and self.shown == {0, IGNORED} and len(self.classes) > 1:
            raise ValueError(
                f"the masks, the first being '{self.masks[0]}', hold 0 and {IGNORED} alone, and {IGNORED} means that "
                f"nothing is to be judged: of the classes {', '.join(self.classes)} all pixels would be "
                f"{self.classes[0]}. If {IGNORED} stands for a class, as in masks saved in black and white, say which "
                f"value each class has: values={_black_and_white(self.classes)}. If it does not, say so by values="
                f"{tuple(range(len(self.classes)))}."
            )

    def _classes_in(self, mask: Path) -> Tensor:
        """The class numbers in a mask, of whatever values stand for them."""
        given, values = read_mask(mask), self.values or tuple(range(len(self.classes)))
        numbers = torch.full((max(*values, IGNORED) + 1,), -1)
        numbers[IGNORED] = IGNORED
        numbers[list(values)] = torch.arange(len(values))
        least, most = (int(bound) for bound in given.aminmax())
        bad = [value for value in (least, most) if not 0 <= value < len(numbers)]
        classes = given if bad else numbers.index_select(0, given.flatten()).view_as(given)
        if bad := bad or given[classes < 0].tolist():
            which = "numbered from 0" if self.values is None else f"of values {', '.join(map(str, values))}"
            raise ValueError(
                f"the mask '{mask}' has the value {bad[0]}, which is none of {len(values)} classes, {which}, nor "
                f"{IGNORED} for pixels to be ignored: correct the mask, name all classes, or say which value each "
                "class has in the masks by values=(…)."
            )
        return classes

    def _turn(self, index: int) -> str:
        if not is_turned(self.images[index]):
            return ""
        return ", which its EXIF orientation turns upright, as the mask must be too"


@checked
def masked_folder(
    folder: str | os.PathLike[str], classes: Annotated[Sequence[str], Inside()], values: Sequence[Whole] | None = None
) -> MaskedImages:
    """The pairs folder/images/NAME.png (or .jpg) and folder/masks/NAME.png, by name.

    Masks are read until every class has been seen; `CropBatches` warns of one that never is.

    Args:
        folder: of the two folders.
        classes: names of the classes.
        values: the value that each class has in the masks, if that is not its number: (0, 255) for two classes in black
            and white.

    Raises:
        FileNotFoundError: there are no images, or one of them has no mask.
        ValueError: two images have one name, a mask cannot be read, nothing in the masks is to be judged, or they hold
            0 and 255 alone and it was not said which class 255 is.
    """
    folder = Path(folder)
    images = sorted(file for file in (folder / "images").glob("*") if file.suffix.lower() in _IMAGES)
    masks = [folder / "masks" / f"{file.stem}.png" for file in images]
    lacking = [mask for mask in masks if not mask.is_file()]
    if not images or lacking:
        what = f"lacks {lacking[0].name} ({len(lacking)} masks in all)" if images else "has no images"
        raise FileNotFoundError(
            f"'{folder}' {what}: images belong into '{folder / 'images'}', PNG or JPEG, and for each a PNG of the same "
            f"name into '{folder / 'masks'}'."
        )
    if twice := [one for one, other in pairwise(images) if one.stem == other.stem]:
        raise ValueError(
            f"'{folder}' has two images with the mask '{twice[0].stem}.png': pairs are found by name; give each image "
            "a name of its own."
        )
    _warn_of_masks_alone(folder / "masks", masks)
    pairs = MaskedImages(tuple(images), tuple(masks), class_names(classes), None if values is None else tuple(values))
    pairs.require_shown()
    return pairs


@checked
def voc2012(root: str | os.PathLike[str], part: str = "train", *, download: bool = True) -> MaskedImages:
    """VOC 2012 with its 21 classes: part train (1,464 images), val (1,449) or trainval, read by torchvision.

    Args:
        root: the folder of the data sets, in torchvision's layout: root/VOCdevkit/VOC2012.
        part: which images.
        download: whether to download them (2 GB, verified by torchvision) if the folder is not there.

    Raises:
        FileNotFoundError: the images are absent, and were not or could not be downloaded.
    """
    dataset = data_package("torchvision.datasets").VOCSegmentation
    there = (Path(root) / "VOCdevkit" / "VOC2012").is_dir()
    try:
        found = dataset(str(root), year="2012", image_set=part, download=download and not there)
    except (RuntimeError, OSError) as error:
        raise FileNotFoundError(
            f"VOC 2012 was asked for, but '{root}' lacks VOCdevkit/VOC2012 or its lists ({error}). Unpack "
            "VOCtrainval_11-May-2012.tar there, or give the folder that has it: --data-root, or the environment "
            "variable ODENET_DATA."
        ) from error
    pairs = MaskedImages(tuple(map(Path, found.images)), tuple(map(Path, found.masks)), VOC_CLASSES)
    if lacking := [file for file in (*pairs.images, *pairs.masks) if not file.is_file()]:
        raise FileNotFoundError(
            f"VOC 2012 was asked for, but '{root}' lacks {len(lacking)} of {2 * len(pairs)} files that its list of "
            f"{part} names, the first being '{lacking[0]}': it was unpacked in part. Unpack "
            "VOCtrainval_11-May-2012.tar again."
        )
    return pairs


def _warn_of_masks_alone(folder: Path, masks: list[Path]) -> None:
    if alone := sorted(set(folder.glob("*.png")) - set(masks)):
        warnings.warn(
            f"{len(alone)} masks in '{folder}', the first being '{alone[0].name}', have no image of their name that is "
            "a "
            "PNG or JPEG, and are left out: save their images as PNG or JPEG, or take the masks away.",
            OdenetWarning,
            stacklevel=3,
        )


def _check_values(values: tuple[int, ...], classes: tuple[str, ...]) -> None:
    for value in values:
        whole_number("values", value, 0, 2**16 - 1, because="pixels of a mask hold whole numbers of up to 16 bits")
    if len(values) != len(classes) or len(set(values)) < len(values):
        raise ValueError(
            f"values={values} cannot stand for the classes {', '.join(classes)}: each has a value of its own in the "
            f"masks; give {len(classes)} different numbers, in the order of the classes."
        )


def _black_and_white(classes: tuple[str, ...]) -> str:
    """An example of values."""
    return "(0, 255)" if len(classes) == 2 else "(0, …, 255)"


def _times(pixels: Tensor) -> str:
    return f"{pixels.shape[0]}×{pixels.shape[1]}"
