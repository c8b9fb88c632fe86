"""An augmentation: a random map of images A(x; u) that leaves the label as it is, u uniform, one u for each image."""

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
    """A(x; u): a deterministic function of the images and of `draws` numbers per image, uniform in [0, 1).

    All randomness is in u. Whoever draws u once for a batch can therefore transform any part of the batch, on any
    device, and obtain that part of the transformed batch, bit for bit.
    """

    @property
    @abstractmethod
    def draws(self) -> int:
        """How many uniform numbers one image takes."""

    @abstractmethod
    def apply(self, images: Tensor, u: Tensor) -> Tensor:
        """A(x; u) for every image.

        Args:
            images: (n, C, H, W), any dtype.
            u: (n, draws), floating point in [0, 1), on the device of the images.

        Returns:
            New images of the same shape, dtype and device.
        """

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """A(x; u) with u drawn from `generator`, which may be on another device than the images."""
        u = torch.rand(len(images), self.draws, generator=generator, device=generator.device)
        return self.apply(images, u.to(images.device))


@dataclass(frozen=True)
class RandomCrop(Augmentation):
    """A shift by (i, j), each uniform in -padding..padding: zero-pad all four sides, cut a window of the old size.

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
        """One number for the rows, one for the columns."""
        return 2

    def apply(self, images: Tensor, u: Tensor) -> Tensor:
        """The window that starts at row ⌊(2·padding + 1)·u₁⌋ and column ⌊(2·padding + 1)·u₂⌋ of the padded image."""
        height, width = images.shape[-2:]
        if self.padding >= min(height, width):
            raise ValueError(
                f"padding={self.padding} cannot be for images of {height}×{width} pixels: a shift could leave nothing "
                "of them; give a smaller padding."
            )
        windows = F.pad(images, [self.padding] * 4).unfold(2, height, 1).unfold(3, width, 1)
        rows, columns = (u * (2 * self.padding + 1)).long().unbind(1)
        return windows[torch.arange(len(images), device=images.device), :, rows, columns]


@dataclass(frozen=True)
class RandomFlip(Augmentation):
    """Left and right exchanged, with probability 1/2."""

    @property
    def draws(self) -> int:
        """One number: whether to flip."""
        return 1

    def apply(self, images: Tensor, u: Tensor) -> Tensor:
        """The mirror image where u < 1/2, the image elsewhere."""
        return torch.where(u[:, :, None, None] < 0.5, images.flip(-1), images)


@dataclass(frozen=True)
class RandomErasing(Augmentation):
    """A rectangle set to 0, in a share of the images: what is recognized must not hang on one part of it.

    It covers 2 to 40 % of the image, uniform, with sides in a ratio of 0.3 to 1/0.3, uniform in its logarithm, and lies
    anywhere within the image; sides longer than the image are cut to it.

    Source: Zhong et al., "Random erasing data augmentation" (2017), who fill it with noise and take the ratio uniform.

    Attributes:
        probability: The share of images of which a rectangle is erased, in (0, 1].
    """

    probability: Number = 0.5

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 < self.probability <= 1:
            raise ValueError(
                f"probability={self.probability} cannot be the share of images of which a rectangle is erased: give a "
                "number greater than 0 and at most 1, or leave RandomErasing out."
            )

    @property
    def draws(self) -> int:
        """Whether to erase, the area, the ratio of the sides, and the place: row and column."""
        return 5

    def apply(self, images: Tensor, u: Tensor) -> Tensor:
        """0 within the rectangle where u₁ < probability, the image elsewhere."""
        height, width = images.shape[-2:]
        whether, area, ratio, row, column = u.unbind(1)
        pixels, ratio = height * width * (0.02 + 0.38 * area), 0.3 ** (1 - 2 * ratio)
        rows = _interval((pixels * ratio).sqrt(), height, row)
        columns = _interval((pixels / ratio).sqrt(), width, column)
        erased = rows[:, :, None] & columns[:, None, :] & (whether < self.probability)[:, None, None]
        return images.masked_fill(erased[:, None], 0)


def _interval(length: Tensor, size: int, place: Tensor) -> Tensor:
    """(n, size), true on a stretch of about `length` of the `size` places, at least one; `place` in [0, 1) moves it."""
    length = length.round().clamp(1, size)
    start = (place * (size - length + 1)).floor().unsqueeze(1)
    index = torch.arange(size, device=length.device)
    return (start <= index) & (index < start + length.unsqueeze(1))


@dataclass(frozen=True, init=False)
class Compose(Augmentation):
    """A_k ∘ … ∘ A_1, each with numbers of its own.

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
        """The sum over the parts."""
        return sum(part.draws for part in self.parts)

    def apply(self, images: Tensor, u: Tensor) -> Tensor:
        """A_1 with the first columns of u, then A_2 with the next, and so on."""
        for part, u_part in zip(self.parts, u.split([part.draws for part in self.parts], dim=1), strict=True):
            images = part.apply(images, u_part)
        return images


def check_augmentation(candidate: object) -> None:
    """Raises a `TypeError` unless `candidate` is an `Augmentation` (the class itself is not)."""
    if not isinstance(candidate, Augmentation):
        raise TypeError(
            f"{candidate!r} cannot augment: it is not an Augmentation object; "
            "give one, e.g. RandomFlip(), or derive a class with `draws` and `apply`."
        )
