"""Images with masks in files, of any sizes: a folder of one's own, or VOC 2012."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from odenet.data.extras import data_package

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
        images: files of n ≥ 1 images.
        masks: files of their masks, in the same order: grey or palette PNGs whose pixels are class numbers, or 255
            where nothing is to be judged.
        classes: names of the K classes.

    Raises:
        ValueError: there is no image, or not one mask for each.
    """

    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.images or len(self.images) != len(self.masks):
            raise ValueError(
                f"{len(self.images)} images and {len(self.masks)} masks cannot be pairs: name at least one image, and "
                "one mask for each."
            )

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """Pair `index`: uint8 (3, H, W) and int64 (H, W).

        Raises:
            ValueError: a file is damaged, image and mask differ in size, or the mask is in colour or has a value that
                is no class.
        """
        pixels, _ = _pixels(self.images[index], "RGB")
        classes, mode = _pixels(self.masks[index], None)
        where = f"the mask '{self.masks[index]}'"
        if classes.dim() != 2:
            raise ValueError(
                f"{where} of mode {mode} cannot be read: pixels of a mask are class numbers, not colours; save it as a "
                "PNG of grey values or of a palette."
            )
        if pixels.shape[:2] != classes.shape:
            raise ValueError(
                f"{where} of {_times(classes)} pixels cannot go with the image '{self.images[index].name}' of "
                f"{_times(pixels)}: each pixel has one class; bring both to one size."
            )
        classes = classes.long()
        if len(bad := classes[(classes >= len(self.classes)) & (classes != IGNORED)]):
            raise ValueError(
                f"{where} has the value {int(bad[0])}, which is none of {len(self.classes)} classes, numbered from 0, "
                f"nor {IGNORED} for pixels to be ignored: correct the mask, or name all classes."
            )
        return pixels.permute(2, 0, 1), classes


def masked_folder(folder: str | os.PathLike[str], classes: Sequence[str]) -> MaskedImages:
    """The pairs folder/images/NAME.png (or .jpg) and folder/masks/NAME.png, by name.

    Raises:
        FileNotFoundError: there are no images, or one of them has no mask.
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
    return MaskedImages(tuple(images), tuple(masks), tuple(classes))


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
    return MaskedImages(tuple(map(Path, found.images)), tuple(map(Path, found.masks)), VOC_CLASSES)


def _pixels(file: Path, mode: str | None) -> tuple[Tensor, str]:
    """The pixels of an image file, (H, W) or (H, W, channels), and its mode; converted to `mode` if given."""
    numpy = data_package("numpy")
    try:
        with data_package("PIL.Image").open(file) as opened:
            picture = opened if mode is None else opened.convert(mode)
            return torch.from_numpy(numpy.array(picture)), opened.mode
    except FileNotFoundError:
        raise
    except OSError as error:  # what Pillow raises for a file cut short or of another kind
        raise ValueError(
            f"'{file}' cannot be read as an image ({error}): it is damaged, or no PNG or JPEG; save it anew, or take it"
            " and its partner out."
        ) from error


def _times(pixels: Tensor) -> str:
    return f"{pixels.shape[0]}×{pixels.shape[1]}"
