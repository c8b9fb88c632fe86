"""Batches of equally large crops from images and masks of any sizes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from odenet.blocks.annotations import Whole, WholeFromZero
from odenet.blocks.arguments import checked
from odenet.blocks.errors import OdenetWarning
from odenet.data.counts import whole_number
from odenet.data.masked_images import IGNORED, MaskedImages
from odenet.data.scenes.batches import MEAN, STD, SceneTargets
from odenet.data.seeds import seeded_generator
from odenet.data.transfer import sent_to


class CropBatches:
    """Batches of crops of `size`×`size` pixels: randomly placed and mirrored in training, centred in a test.

    Where a crop reaches beyond its image, its pixels are grey and its mask is 255, which is ignored. Batch i of epoch e
    is a function of (seed, e, i). With `world_size` processes, each gets its share of every batch.

    Classes that occur in no mask give an `OdenetWarning`: they are neither learned nor tested.

    Args:
        pairs: Images and masks.
        size: Side of a crop, in pixels.
        batch_size: Crops in a batch over all processes, a multiple of `world_size`.
        train: Whether images come in random order, cropped and mirrored at random.
        seed: Seed of the random numbers.
        device: Device of the batches.
        rank: Rank of this process, 0 ≤ rank < world_size.
        world_size: Number of processes.

    Raises:
        TypeError: if a count is not a whole number.
        ValueError: if a count is out of range, a batch cannot be shared equally, a mask cannot be read, or every pixel
            of the masks is ignored.
    """

    @checked
    def __init__(
        self,
        pairs: MaskedImages,
        size: Whole,
        batch_size: Whole,
        *,
        train: bool,
        seed: Whole = 0,
        device: torch.device | str = "cpu",
        rank: Whole = 0,
        world_size: Whole = 1,
    ) -> None:
        self.size = whole_number("size", size, 1, because="a crop has at least one pixel")
        self.world_size = whole_number("world_size", world_size, 1, because="it is the number of processes")
        self.rank = whole_number("rank", rank, 0, world_size - 1, because=f"there are {world_size} processes")
        self.batch_size = whole_number(
            "batch_size", batch_size, 1, len(pairs), because=f"there are {len(pairs)} images"
        )
        if batch_size % world_size:
            raise ValueError(
                f"batch_size={batch_size} cannot be shared by world_size={world_size} processes: their shares are "
                "equal; give a multiple of world_size."
            )
        seeded_generator(seed, "check")  # raises for a bad seed here, not in the first epoch
        _check_classes(pairs, train=train)
        self.pairs, self.train, self.seed, self.device = pairs, train, seed, device
        self.split = SceneTargets(next(self.epoch(0))[1])  # the other masks are checked when they are read

    def __len__(self) -> int:
        """Return the number of batches; a smaller last one counts only in a test by a single process."""
        whole, rest = divmod(len(self.pairs), self.batch_size)
        return whole + (rest > 0 and not self.train and self.world_size == 1)

    @checked
    def epoch(self, epoch: WholeFromZero, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over the batches start, start + 1, …, len(self) - 1 of an epoch.

        Yields:
            images: float32, (m, 3, size, size), normalized as `SceneBatches` normalizes.
            masks: int64, (m, size, size).
        """
        order = torch.arange(len(self.pairs))
        if self.train:
            order = torch.randperm(len(self.pairs), generator=seeded_generator(self.seed, "order", epoch))
        return (self._batch(order, epoch, index) for index in range(start, len(self)))

    def _batch(self, order: Tensor, epoch: int, index: int) -> tuple[Tensor, Tensor]:
        chosen = order[index * self.batch_size :][: self.batch_size]
        u = torch.full((len(chosen), 3), 0.5)
        if self.train:
            u = torch.rand(len(chosen), 3, generator=seeded_generator(self.seed, "crops", epoch, index))
        share = slice(*(len(chosen) * rank // self.world_size for rank in (self.rank, self.rank + 1)))
        pairs = [self._crop(int(i), *v) for i, v in zip(chosen[share], u[share].tolist(), strict=True)]
        images, masks = (sent_to(torch.device(self.device), torch.stack(parts)) for parts in zip(*pairs, strict=True))
        return images, masks

    def _crop(self, index: int, down: float, right: float, mirror: float) -> tuple[Tensor, Tensor]:
        """Crop pair `index` at a place given by two numbers in [0, 1), mirrored if `mirror` > 1/2."""
        image, mask = self.pairs.read(index)
        missing = [max(0, self.size - side) for side in mask.shape]
        before = [int(share * n) for share, n in zip((down, right), missing, strict=True)]
        pads = [before[1], missing[1] - before[1], before[0], missing[0] - before[0]]
        image, mask = F.pad((image / 255 - MEAN) / STD, pads), F.pad(mask, pads, value=IGNORED)
        top, left = (int(share * (n - self.size + 1)) for share, n in zip((down, right), mask.shape, strict=True))
        rows, columns = slice(top, top + self.size), slice(left, left + self.size)
        image, mask = image[:, rows, columns], mask[rows, columns]
        return (image.flip(2), mask.flip(1)) if mirror > 0.5 else (image, mask)


def _check_classes(pairs: MaskedImages, *, train: bool) -> None:
    pairs.require_shown()
    if absent := pairs.absent:
        effect = "a network cannot learn" if train else "no metric covers"
        ignored = f" (some pixels are {IGNORED}, which stands for no class)" if IGNORED in pairs.shown else ""
        warnings.warn(
            f"{len(absent)} of {len(pairs.classes)} classes, {', '.join(absent)}, occur in none of the {len(pairs)} "
            f"masks{ignored}, so {effect} them: add images that show them, name only the classes that occur, or give "
            "the value of each class in the masks by values=(…).",
            OdenetWarning,
            stacklevel=3,
        )
