"""A data set of labelled images: a training split, a test split, the names of the classes, and how to feed them."""

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
    """Images of K classes, x ∈ {0, …, 255}^(C×H×W) and y ∈ {0, …, K-1}, split into training and test.

    Attributes:
        name: What `odenet.data.load` calls it.
        train: The training split.
        test: The test split, its images of the same shape.
        classes: The K names of the classes; label k is `classes[k]`.
        augmentation: The usual one for these images in training; `None` if there is none. Another one is
            `dataclasses.replace(data, augmentation=…)`.

    Raises:
        TypeError: The names of the classes are none.
        ValueError: The image shapes of the splits differ, or a label is not the number of a class.
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
        """C: 1 for grey images, 3 for colour."""
        return self.train.image_shape[0]

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W), in pixels."""
        return self.train.image_shape[1:]

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.classes)

    @cached_property
    def mean(self) -> tuple[float, ...]:
        """The mean of each channel over the training split, pixels in [0, 1]."""
        return tuple(float(counts @ _GREYS / counts.sum()) for counts in _histograms(self.train.images))

    @cached_property
    def std(self) -> tuple[float, ...]:
        """The standard deviation of each channel over the training split, pixels in [0, 1]."""
        pairs = zip(_histograms(self.train.images), self.mean, strict=True)
        return tuple(float((counts @ (_GREYS - mean) ** 2 / counts.sum()).sqrt()) for counts, mean in pairs)

    @checked
    def with_train_images(self, train_images: Whole, seed: Whole = 0) -> ImageData:
        """The same data with only `train_images` training images, the classes equally often to within one image.

        Of two numbers, the smaller set is part of the larger; the test split stays whole. `mean` and `std` are those of
        those images: nothing else is known in such a training.
        """
        there = len(self.train)
        n = whole_number("train_images", train_images, 1, there, because=f"{self.name!r} has {there} of them")
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
        """The training split in batches, shuffled anew in every epoch; see `Batches` for the arguments.

        `augment=False, shuffle=False` gives what the error on the training set is measured on.
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
        """The test split in batches: every image once, in order, as it is."""
        return Batches(
            self.test, batch_size, mean=self.mean, std=self.std, device=device, rank=rank, world_size=world_size
        )


_GREYS = torch.arange(256, dtype=torch.float64) / 255


def _histograms(images: Tensor) -> list[Tensor]:
    """How often each of the 256 values occurs in each channel, float64 (256,): exact, and small whatever the split."""
    return [channel.flatten().bincount(minlength=256).double().cpu() for channel in images.unbind(1)]


def _check_labels(where: str, labels: Tensor, classes: tuple[str, ...]) -> None:
    if (highest := int(labels.max())) >= len(classes):
        raise ValueError(
            f"label {highest} in the {where} cannot be: there are {len(classes)} classes, numbered from 0; "
            "correct the label, or name all classes."
        )
