"""Augmentations: random maps of images x ↦ A(x; u) that keep the label, with uniform random numbers u per image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from odenet.blocks.annotations import Number, Whole
from odenet.blocks.arguments import check_fields, checked
from odenet.data.counts import whole_number


class Augmentation(ABC):
    """A random map of images A(x; u), deterministic in x and in `draws` uniform random numbers u in [0, 1) per image.

    All randomness is in u. If u is drawn once for a batch, then any part of the batch can be transformed on its own, on
    any device, and the result is that part of the transformed batch, bit for bit.
    """

    @property
    @abstractmethod
    def draws(self) -> int:
        """Number of uniform random numbers that one image needs."""

    @abstractmethod
    def apply(self, images: Tensor, u: Tensor) -> Tensor:
        """Return A(x; u) for every image.

        Args:
            images: (n, C, H, W), any dtype.
            u: (n, draws), floating point in [0, 1), on the device of the images.

        Returns:
            New images of the same shape, dtype and device.
        """

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return A(x; u) with u drawn from `generator`, which may be on another device than the images."""
        u = torch.rand(len(images), self.draws, generator=generator, device=generator.device)
        return self.apply(images, u.to(images.device))


@dataclass(frozen=True)
class RandomCrop(Augmentation):
    """Random shift by (i, j), each uniform in -padding..padding: zero-pad all four sides, then crop to the old size.

    Source: He et al., "Deep residual learning for image recognition" (2016), section 4.2, with four pixels on CIFAR.

    Attributes:
        padding: Largest shift, in pixels, ≥ 1.
    """

    padding: Whole

    def __post_init__(self) -> None:
        check_fields(self)
        whole_number("padding", self.padding, 1, because="it is the largest shift, in pixels")

    @property
    def draws(self) -> int:
        """Number of uniform random numbers per image: one for the rows, one for the columns."""
        return 2

    def apply(self, images: Tensor, u: Tensor) -> Tensor:
        """Crop the padded image to the window from row ⌊(2·padding + 1)·u₁⌋ and column ⌊(2·padding + 1)·u₂⌋ on."""
        height, width = images.shape[-2:]
        if self.padding >= min(height, width):
            raise ValueError(
                f"padding={self.padding} is too large for images of {height}×{width} pixels: a shift could move the "
                "whole image out of the window; give a smaller padding."
            )
        windows = F.pad(images, [self.padding] * 4).unfold(2, height, 1).unfold(3, width, 1)
        rows, columns = (u * (2 * self.padding + 1)).long().unbind(1)
        return windows[torch.arange(len(images), device=images.device), :, rows, columns]


@dataclass(frozen=True)
class RandomFlip(Augmentation):
    """Random horizontal flip, with probability 1/2."""

    @property
    def draws(self) -> int:
        """Number of uniform random numbers per image: one, which decides whether to flip."""
        return 1

    def apply(self, images: Tensor, u: Tensor) -> Tensor:
        """Return the mirror image where u < 1/2, the unchanged image elsewhere."""
        return torch.where(u[:, :, None, None] < 0.5, images.flip(-1), images)


@dataclass(frozen=True)
class RandomErasing(Augmentation):
    """Random erasing: set a rectangle to 0 in a share of the images, so that recognition cannot rely on one part alone.

    The rectangle covers 2 to 40 % of the image (uniform), has an aspect ratio of 0.3 to 1/0.3 (uniform in its
    logarithm), and lies anywhere within the image; sides longer than the image are cut to it.

    Source: Zhong et al., "Random erasing data augmentation" (2017), who fill the rectangle with noise and draw the
    aspect ratio uniformly.

    Attributes:
        probability: Probability that a rectangle of an image is erased, in (0, 1].
    """

    probability: Number = 0.5

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 < self.probability <= 1:
            raise ValueError(
                f"probability must be greater than 0 and at most 1, got {self.probability}: it is the share of images "
                "in which a rectangle is erased; to erase nothing, leave RandomErasing out."
            )

    @property
    def draws(self) -> int:
        """Number of uniform random numbers per image: whether to erase, area, aspect ratio, row and column."""
        return 5

    def apply(self, images: Tensor, u: Tensor) -> Tensor:
        """Set the rectangle to 0 where u₁ < probability; leave the image unchanged elsewhere."""
        height, width = images.shape[-2:]
        chance, area, ratio, row, column = u.unbind(1)
        pixels, ratio = height * width * (0.02 + 0.38 * area), 0.3 ** (1 - 2 * ratio)
        rows = _interval((pixels * ratio).sqrt(), height, row)
        columns = _interval((pixels / ratio).sqrt(), width, column)
        erased = rows[:, :, None] & columns[:, None, :] & (chance < self.probability)[:, None, None]
        return images.masked_fill(erased[:, None], 0)


def _interval(length: Tensor, size: int, place: Tensor) -> Tensor:
    """Mark an interval of about `length` ≥ 1 of `size` pixels, shifted by `place` in [0, 1): bool, (n, size)."""
    length = length.round().clamp(1, size)
    start = (place * (size - length + 1)).floor().unsqueeze(1)
    index = torch.arange(size, device=length.device)
    return (start <= index) & (index < start + length.unsqueeze(1))


@dataclass(frozen=True, init=False)
class Compose(Augmentation):
    """The composition A_k ∘ … ∘ A_1, where each augmentation has its own random numbers.

    >>> Compose(RandomCrop(4), RandomFlip()).draws
    3

    Attributes:
        parts: A_1, …, A_k, in the order in which they are applied.
    """

    parts: tuple[Augmentation, ...]

    @checked
    def __init__(self, *parts: Augmentation) -> None:
        for part in parts:
            check_augmentation(part)
        object.__setattr__(self, "parts", parts)

    @property
    def draws(self) -> int:
        """Number of uniform random numbers per image: the sum over the parts."""
        return sum(part.draws for part in self.parts)

    def apply(self, images: Tensor, u: Tensor) -> Tensor:
        """Apply A_1 with the first columns of u, then A_2 with the next columns, and so on."""
        for part, u_part in zip(self.parts, u.split([part.draws for part in self.parts], dim=1), strict=True):
            images = part.apply(images, u_part)
        return images


def check_augmentation(candidate: object) -> None:
    """Raise a `TypeError` unless `candidate` is an instance of `Augmentation`."""
    if not isinstance(candidate, Augmentation):
        raise TypeError(
            f"{candidate!r} cannot augment images: it is not an instance of Augmentation; "
            "give one, e.g. RandomFlip(), or derive a class with `draws` and `apply`."
        )
