"""Data sets of labelled images: splits for training, validation and test, class names, and batches of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated

import torch
from torch import Tensor

from odenet.blocks.annotations import Inside, Whole, Within
from odenet.blocks.arguments import check_fields, checked
from odenet.data.augmentation import Augmentation
from odenet.data.batches import Batches
from odenet.data.class_names import class_names
from odenet.data.counts import whole_number
from odenet.data.split import Split, balanced_order, held_out


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images x ∈ {0, …, 255}^(C×H×W) with labels y ∈ {0, …, K-1}, split into training, validation and test.

    Attributes:
        name: Name of the data set, as in `odenet.data.load`.
        train: Training split.
        test: Test split, with images of the same shape.
        classes: Names of the K classes; label k means `classes[k]`.
        augmentation: Usual augmentation of these images in training, or `None`. To choose another one, use
            `dataclasses.replace(data, augmentation=…)`.
        validation: Validation split, on which settings are chosen and trainings are followed, or `None`; see
            `with_validation`.

    Raises:
        TypeError: if `classes` is not a sequence of names.
        ValueError: if the image shapes of the splits differ, or a label is not the number of a class.
    """

    name: str
    train: Split
    test: Split
    classes: Annotated[tuple[str, ...], Inside()]
    augmentation: Augmentation | None = None
    validation: Split | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "classes", class_names(self.classes))
        others = {"test": self.test} | ({} if self.validation is None else {"validation": self.validation})
        for part, split in others.items():
            if self.train.image_shape != split.image_shape:
                raise ValueError(
                    f"training images of shape {self.train.image_shape} and {part} images of shape {split.image_shape} "
                    f"cannot make the data set {self.name!r}: a network has one input shape; bring both to (C, H, W)."
                )
        for part, split in {"training": self.train, **others}.items():
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

        A smaller set is a subset of a larger one with the same seed; the other splits stay whole. `mean` and `std` are
        computed from the remaining training images, since such a training knows no others.
        """
        available = len(self.train)
        n = whole_number("train_images", train_images, 1, available, because=f"{self.name!r} has {available} of them")
        return replace(self, train=self.train.subset(balanced_order(self.train.labels, seed)[:n]))

    @checked
    def with_validation(self, share: Annotated[float, Within(0, 1)], seed: Whole = 0) -> ImageData:
        """Return the data with `share` of the training images of each class, rounded, as the validation split.

        Which images they are depends on the labels and the seed alone. Choose them before `with_train_images`, so that
        trainings on fewer images have the same validation split.

        Raises:
            ValueError: if the data have a validation split, or a class would have no training or validation image.

        >>> data = ImageData("pets", Split(torch.zeros(24, 1, 8, 8, dtype=torch.uint8), torch.arange(24) % 2),
        ...                  Split(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.arange(2)), ("cat", "dog"))
        >>> data.with_validation(1 / 4).validation
        Split(6 images of 1×8×8 on cpu)
        """
        if self.validation is not None:
            raise ValueError(
                f"a validation split was asked for, but {self.name!r} has one of {len(self.validation)} images: make "
                "it once, from all training images."
            )
        kept, held = held_out(self.train.labels, share, seed, self.classes)
        return replace(self, train=self.train.subset(kept), validation=self.train.subset(held))

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
        return self._in_order(self.test, batch_size, device, rank, world_size)

    @checked
    def validation_batches(
        self, batch_size: Whole, *, device: torch.device | str = "cpu", rank: Whole = 0, world_size: Whole = 1
    ) -> Batches | None:
        """Return batches of the validation split like those of the test split; `None` if there is none."""
        split = self.validation
        return None if split is None else self._in_order(split, batch_size, device, rank, world_size)

    def _in_order(
        self, split: Split, batch_size: int, device: torch.device | str, rank: int, world_size: int
    ) -> Batches:
        return Batches(split, batch_size, mean=self.mean, std=self.std, device=device, rank=rank, world_size=world_size)


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
