"""Data sets of labelled images: a training split, a test split, class names, and batches of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated

import torch
from torch import Tensor

from odenet.blocks.annotations import Inside, Whole
from odenet.blocks.arguments import check_fields, checked
from odenet.data.augmentation import Augmentation
from odenet.data.batches import Batches
from odenet.data.class_names import class_names
from odenet.data.counts import whole_number
from odenet.data.split import Split, balanced_order


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images x ∈ {0, …, 255}^(C×H×W) with labels y ∈ {0, …, K-1}, split into training and test.

    Attributes:
        name: Name of the data set, as in `odenet.data.load`.
        train: Training split.
        test: Test split, with images of the same shape.
        classes: Names of the K classes; label k means `classes[k]`.
        augmentation: Usual augmentation of these images in training, or `None`. To choose another one, use
            `dataclasses.replace(data, augmentation=…)`.

    Raises:
        TypeError: if `classes` is not a sequence of names.
        ValueError: if the image shapes of the splits differ, or a label is not the number of a class.
    """

    name: str
    train: Split
    test: Split
    classes: Annotated[tuple[str, ...], Inside()]
    augmentation: Augmentation | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "classes", class_names(self.classes))
        if self.train.image_shape != self.test.image_shape:
            raise ValueError(
                f"training images of shape {self.train.image_shape} and test images of shape {self.test.image_shape} "
                f"cannot make the data set {self.name!r}: a network has one input shape; bring both to (C, H, W)."
            )
        for part, split in {"training": self.train, "test": self.test}.items():
            _check_labels(f"{part} split of {self.name!r}", split.labels, self.classes)

    @property
    def in_channels(self) -> int:
        """Number of channels C: 1 for grey images, 3 for colour."""
        return self.train.image_shape[0]

    @property
    def image_size(self) -> tuple[int, int]:
        """Image size (H, W), in pixels."""
        return self.train.image_shape[1:]

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return len(self.classes)

    @cached_property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel over the training split, pixels in [0, 1]."""
        return tuple(float(counts @ _GREYS / counts.sum()) for counts in _histograms(self.train.images))

    @cached_property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel over the training split, pixels in [0, 1]."""
        pairs = zip(_histograms(self.train.images), self.mean, strict=True)
        return tuple(float((counts @ (_GREYS - mean) ** 2 / counts.sum()).sqrt()) for counts, mean in pairs)

    @checked
    def with_train_images(self, train_images: Whole, seed: Whole = 0) -> ImageData:
        """Return the data with only `train_images` training images, the classes equally often to within one image.

        A smaller set is a subset of a larger one with the same seed; the test split stays whole. `mean` and `std` are
        computed from the remaining training images, since such a training knows no others.
        """
        available = len(self.train)
        n = whole_number("train_images", train_images, 1, available, because=f"{self.name!r} has {available} of them")
        return replace(self, train=self.train.subset(balanced_order(self.train.labels, seed)[:n]))

    @checked
    def train_batches(
        self,
        batch_size: Whole,
        *,
        seed: Whole = 0,
        device: torch.device | str = "cpu",
        augment: bool = True,
        shuffle: bool = True,
        drop_last: bool = False,
        rank: Whole = 0,
        world_size: Whole = 1,
    ) -> Batches:
        """Return batches of the training split, shuffled anew in every epoch; see `Batches` for the arguments.

        Use `augment=False, shuffle=False` to measure the error on the training set.
        """
        return Batches(
            self.train,
            batch_size,
            mean=self.mean,
            std=self.std,
            augmentation=self.augmentation if augment else None,
            shuffle=shuffle,
            drop_last=drop_last,
            seed=seed,
            device=device,
            rank=rank,
            world_size=world_size,
        )

    @checked
    def test_batches(
        self, batch_size: Whole, *, device: torch.device | str = "cpu", rank: Whole = 0, world_size: Whole = 1
    ) -> Batches:
        """Return batches of the test split: every image once, in order, without augmentation."""
        return Batches(
            self.test, batch_size, mean=self.mean, std=self.std, device=device, rank=rank, world_size=world_size
        )


_GREYS = torch.arange(256, dtype=torch.float64) / 255


def _histograms(images: Tensor) -> list[Tensor]:
    """Count each of the 256 values in each channel, float64 (256,): exact, and small for a split of any size."""
    return [channel.flatten().bincount(minlength=256).double().cpu() for channel in images.unbind(1)]


def _check_labels(where: str, labels: Tensor, classes: tuple[str, ...]) -> None:
    if (highest := int(labels.max())) >= len(classes):
        raise ValueError(
            f"label {highest} in the {where} has no class: there are {len(classes)} classes, numbered from 0; "
            "correct the label, or name all classes."
        )
