"""Splits of a data set: labelled images (x_i, y_i), i = 1..n, as two tensors in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from odenet.blocks.annotations import Whole
from odenet.blocks.arguments import check_fields, checked
from odenet.data.counts import whole_number
from odenet.data.seeds import seeded_generator


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """One part of a data set: pairs (x_i, y_i) of an image x_i in bytes and the number y_i of its class.

    Attributes:
        images: Images, uint8, (n, C, H, W), n ≥ 1; 0 is black.
        labels: Class numbers from 0, int64, (n,), on the device of the images.

    Raises:
        TypeError: if the images are not uint8, or the labels not int64.
        ValueError: if shapes or devices do not match, there is no image, or a label is negative.

    >>> Split(torch.zeros(5, 1, 8, 8, dtype=torch.uint8), torch.arange(5)).first(2)
    Split(2 images of 1×8×8 on cpu)
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        check_fields(self)
        _check_dtypes(self.images, self.labels)
        _check_shapes(self.images, self.labels)
        if self.images.device != self.labels.device:
            raise ValueError(
                f"images on {self.images.device} and labels on {self.labels.device} cannot make a split: "
                "a batch takes both from one device; move one with .to(device)."
            )
        if (lowest := int(self.labels.min())) < 0:
            raise ValueError(f"label {lowest} is negative: classes are numbered from 0; remove or renumber it.")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"Split({len(self)} images of {_times(self.image_shape)} on {self.images.device})"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of an image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @checked
    def to(self, device: torch.device | str) -> Split:
        """Return the split on `device`, without a copy if it is there already."""
        return Split(self.images.to(device), self.labels.to(device))

    @checked
    def subset(self, indices: Tensor) -> Split:
        """Return the pairs at `indices`, int64 (m,), in that order."""
        if indices.dtype not in (torch.int64, torch.bool) or indices.dim() != 1:
            raise TypeError(
                f"indices of {indices.dtype} and shape {tuple(indices.shape)} cannot select images: an index is the "
                "number of an image; give a vector of torch.int64."
            )
        indices = indices.to(self.images.device)
        return Split(self.images[indices], self.labels[indices])

    @checked
    def first(self, n: Whole) -> Split:
        """Return the first `n` pairs, 1 ≤ n ≤ len(self), as a view."""
        n = whole_number("n", n, 1, len(self), because=f"the split has {len(self)} images")
        return Split(self.images[:n], self.labels[:n])


def balanced_order(labels: Tensor, seed: int = 0) -> Tensor:
    """Return a random permutation σ of 0..n-1 in which the classes alternate, each until its images are used up.

    So the first m entries contain every class equally often, to within one image, and the smaller of two subsets taken
    with one seed is part of the larger.

    Args:
        labels: Class numbers from 0, int64, (n,).
        seed: Seed of the permutation within each class.

    Returns:
        int64, (n,), on the CPU.
    """
    shuffled = torch.randperm(len(labels), generator=seeded_generator(seed, "balanced order"))
    labels = labels.cpu()[shuffled]
    by_class = labels.argsort(stable=True)
    sizes = labels.bincount()
    class_starts = sizes.cumsum(0) - sizes
    turns = torch.arange(len(labels)) - class_starts[labels[by_class]]
    return shuffled[by_class[turns.argsort(stable=True)]]


def held_out(labels: Tensor, share: float, seed: int, classes: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Divide 0..n-1 into two ascending vectors; the second has round(share·m) of the m entries of each class.

    Args:
        labels: Class numbers from 0, int64, (n,).
        share: Share of the second vector, between 0 and 1.
        seed: Seed of the choice within each class.
        classes: Names of the classes.

    Raises:
        ValueError: if a class would have no entry in one of the two.
    """
    generator = seeded_generator(seed, "validation")
    held = torch.zeros(len(labels), dtype=torch.bool)
    for number, name in enumerate(classes):
        own = (labels.cpu() == number).nonzero().flatten()
        count = round(share * len(own))
        if not 0 < count < len(own):
            raise ValueError(
                f"a validation share of {share:g} leaves class {name!r} with {len(own) - count} training and {count} "
                "validation images, but each split needs every class: choose another share, or give more images."
            )
        held[own[torch.randperm(len(own), generator=generator)[:count]]] = True
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def _check_dtypes(images: Tensor, labels: Tensor) -> None:
    if images.dtype != torch.uint8:
        raise TypeError(
            f"images of {images.dtype} cannot make a split: pixels are bytes and become floats batch by batch; "
            "give torch.uint8, e.g. (255 * images).round().to(torch.uint8) for values in [0, 1]."
        )
    if labels.dtype != torch.int64:
        raise TypeError(
            f"labels of {labels.dtype} cannot make a split: a label is the number of a class; give torch.int64."
        )


def _check_shapes(images: Tensor, labels: Tensor) -> None:
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(
            f"images of shape {tuple(images.shape)} cannot make a split: it needs (n, C, H, W) without an empty axis; "
            "reshape them, e.g. images.unsqueeze(1) for grey images of shape (n, H, W)."
        )
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"labels of shape {tuple(labels.shape)} cannot go with images of shape {tuple(images.shape)}: "
            f"every image has one label; give labels of shape ({len(images)},)."
        )


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
