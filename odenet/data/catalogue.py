"""The catalogue of data sets: how each named data set is read and augmented."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from odenet.blocks.annotations import Whole, Within
from odenet.blocks.arguments import checked
from odenet.blocks.errors import unknown_name
from odenet.data.augmentation import Augmentation, Compose, RandomCrop, RandomFlip
from odenet.data.digits import read_digits
from odenet.data.image_data import ImageData
from odenet.data.scenes.garments import read_garments
from odenet.data.scenes.scenes import read_scenes
from odenet.data.split import Split
from odenet.data.torchvision_sets import read_torchvision

Reader = Callable[[Path, bool], tuple[Split, Split, tuple[str, ...]]]
"""(root, download) ↦ (training split, test split, class names)."""


@dataclass(frozen=True)
class Entry:
    """Catalogue entry of a data set: its reader and its usual augmentation.

    Attributes:
        read: Function that reads the data set.
        augmentation: Usual augmentation in training: small shifts, and mirror images where these keep the class (which
            they do not for digits).
    """

    read: Reader
    augmentation: Augmentation | None = None


DATA_SETS: Mapping[str, Entry] = {
    "digits": Entry(read_digits, RandomCrop(1)),
    "scenes": Entry(read_scenes, Compose(RandomCrop(4), RandomFlip())),
    "garments": Entry(read_garments, Compose(RandomCrop(4), RandomFlip())),
    "mnist": Entry(partial(read_torchvision, "MNIST"), RandomCrop(2)),
    "fashion-mnist": Entry(partial(read_torchvision, "FashionMNIST"), Compose(RandomCrop(2), RandomFlip())),
    "cifar10": Entry(partial(read_torchvision, "CIFAR10"), Compose(RandomCrop(4), RandomFlip())),
    "cifar100": Entry(partial(read_torchvision, "CIFAR100"), Compose(RandomCrop(4), RandomFlip())),
}


@checked
def load(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    download: bool = True,
    train_images: Whole | None = None,
    validation_share: Annotated[float, Within(0, 1)] = 0,
) -> ImageData:
    """Load the data set `name` onto the CPU and verify its files.

    If several processes share a folder, let one of them load first: two downloads into one folder disturb each other.

    Args:
        name: One of `DATA_SETS`.
        root: Folder of the data sets, in torchvision's layout; by default the environment variable `ODENET_DATA`, or
            else `data` in the working directory. `digits` and `scenes` need no folder; `garments` needs that of
            `fashion-mnist`.
        download: Whether to download missing files.
        train_images: Number of training images to keep, the classes equally often and the same images in every run; all
            if `None`.
        validation_share: Share of the training images of each class that make the validation split, the same images in
            every run and before `train_images` are chosen from the others; 0 for no validation split.

    Raises:
        ValueError: if the name is unknown, a file differs from the published one, `train_images` is out of range, or
            `validation_share` leaves a class without an image.
        FileNotFoundError: if files are missing and were not or could not be downloaded; the message says which files
            belong where.
        ModuleNotFoundError: if the package that reads the data set is not installed.

    >>> data = load("digits", train_images=100)
    >>> data.train, data.test, data.num_classes
    (Split(100 images of 1×8×8 on cpu), Split(360 images of 1×8×8 on cpu), 10)
    """
    if name not in DATA_SETS:
        raise unknown_name("data set", name, DATA_SETS)
    entry = DATA_SETS[name]
    data = ImageData(name, *entry.read(data_root(root), download), entry.augmentation)
    data = data.with_validation(validation_share) if validation_share else data
    return data if train_images is None else data.with_train_images(train_images)


@checked
def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of the data sets: `root` if given, else the environment variable `ODENET_DATA`, else `data`."""
    return Path(root if root is not None else os.environ.get("ODENET_DATA") or "data").expanduser()
