"""Batches of a split, computed on the device: each batch is a pure function of (seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from odenet.blocks.annotations import AnyNumber, Number, Whole
from odenet.blocks.arguments import checked
from odenet.data.augmentation import Augmentation, check_augmentation
from odenet.data.counts import whole_number
from odenet.data.seeds import seeded_generator
from odenet.data.split import Split
from odenet.data.transfer import sent_to


class Batches:
    """Batches of (A(x; u)/255 - mean) / std and labels: consecutive parts of the split in the order σ_e of epoch e.

    The bytes of the whole split stay on the device, and a batch is gathered, augmented and turned into floats there: no
    worker processes, and no copies from the host except a few numbers per image. The permutation σ_e depends on
    (seed, epoch) and the augmentation's u on (seed, epoch, index), never on earlier draws, so a training that resumes
    in the middle of an epoch sees bit for bit the batches it would have seen without interruption. All random numbers
    come from the CPU: every device gets the same batches.

    With `world_size` processes (DDP), each batch is cut into `world_size` consecutive shares and process `rank` gets
    one of them; concatenated, they are the batch of a single process, augmentation included. Only in the last batch of
    an epoch can the shares differ, by one image; with `drop_last` they never do.

    Not suitable for data sets that do not fit in the memory of the device.

    Args:
        split: The images and labels.
        batch_size: Images per batch over all processes; a multiple of `world_size`.
        mean: Mean of each channel, pixels in [0, 1].
        std: Standard deviation of each channel, pixels in [0, 1], > 0.
        augmentation: The augmentation A; the identity if `None`.
        shuffle: Whether σ_e is a random permutation; otherwise it is the identity.
        drop_last: Whether to leave out the last batch if it is smaller than the others.
        seed: Seed of the run, 0 ≤ seed < 2⁶⁴.
        device: Device of the batches.
        rank: Rank of this process, 0 ≤ rank < world_size.
        world_size: Number of processes that share every batch.

    Raises:
        TypeError: if a count or the seed is not a whole number, or `augmentation` is not an augmentation.
        ValueError: if a count is out of range, an epoch would have no batch or a process an empty share, or the lengths
            of `mean` and `std` differ from the number of channels.

    >>> split = Split(torch.zeros(10, 1, 8, 8, dtype=torch.uint8), torch.arange(10))
    >>> batches = Batches(split, 4, mean=[0.5], std=[0.5])
    >>> [(tuple(images.shape), labels.tolist()) for images, labels in batches.epoch(0)]
    [((4, 1, 8, 8), [0, 1, 2, 3]), ((4, 1, 8, 8), [4, 5, 6, 7]), ((2, 1, 8, 8), [8, 9])]
    """

    @checked
    def __init__(
        self,
        split: Split,
        batch_size: Whole,
        *,
        mean: Sequence[AnyNumber],
        std: Sequence[Number],
        augmentation: Augmentation | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: Whole = 0,
        device: torch.device | str = "cpu",
        rank: Whole = 0,
        world_size: Whole = 1,
    ) -> None:
        self.world_size = whole_number("world_size", world_size, 1, because="it is the number of processes")
        self.rank = whole_number("rank", rank, 0, world_size - 1, because=f"there are {world_size} processes")
        self.batch_size = whole_number("batch_size", batch_size, 1, because="a batch holds at least one image")
        seeded_generator(seed, "check")  # raises for a bad seed here, not in the first epoch
        _check_statistics(split.image_shape[0], mean, std)
        if augmentation is not None:
            check_augmentation(augmentation)
        self.split = split.to(device)
        self.augmentation = augmentation
        self.shuffle, self.drop_last, self.seed = shuffle, drop_last, seed
        self._mean = 255 * torch.tensor(mean, device=device).view(1, -1, 1, 1)
        self._std = 255 * torch.tensor(std, device=device).view(1, -1, 1, 1)
        self._check_shares()

    def __len__(self) -> int:
        """Return the number of batches in an epoch, which is the same for every process."""
        whole, rest = divmod(len(self.split), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    @checked
    def epoch(self, epoch: Whole, start: Whole = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over the batches start, start + 1, …, len(self) - 1 of an epoch.

        Args:
            epoch: Number of the epoch, ≥ 0.
            start: Index of the first batch, 0 ≤ start ≤ len(self); a resumed training starts at its next batch.

        Yields:
            images: float32, (m, C, H, W), with m = batch_size / world_size except in the last batch.
            labels: int64, (m,).
        """
        device = self._mean.device
        return (self._computed(places, *(sent_to(device, v) for v in u)) for places, *u in self.numbers(epoch, start))

    @checked
    def numbers(self, epoch: Whole, start: Whole = 0) -> Iterator[tuple[Tensor, ...]]:
        """Iterate over what decides each of the same batches; `from_numbers` computes them from it.

        Yields:
            places: int64, (m,), of the images in the split, on the device.
            u: float32, (m, draws), the numbers of the augmentation, on the host; left out where there is none.
        """
        epoch = whole_number("epoch", epoch, 0, because="epochs are counted from 0")
        start = whole_number("start", start, 0, len(self), because=f"an epoch has {len(self)} batches")
        order = self._order(epoch)
        return (self._numbers(order, epoch, index) for index in range(start, len(self)))

    @checked
    def from_numbers(self, places: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute the batch of the images at `places`, augmented by `u`; both lie on the device."""
        return self._computed(places, u)

    def _computed(self, places: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        images = self.split.images[places]
        if self.augmentation is not None and u is not None:
            images = self.augmentation.apply(images, u)
        return images.float().sub_(self._mean).div_(self._std), self.split.labels[places]

    @checked
    def global_size(self, index: Whole) -> int:
        """Return the number of images of batch `index` over all processes: its weight in a mean over the split."""
        index = whole_number("index", index, 0, len(self) - 1, because=f"an epoch has {len(self)} batches")
        return min(self.batch_size, len(self.split) - index * self.batch_size)

    def _order(self, epoch: int) -> Tensor:
        n = len(self.split)
        if not self.shuffle:
            return torch.arange(n, device=self._mean.device)
        return sent_to(self._mean.device, torch.randperm(n, generator=seeded_generator(self.seed, "order", epoch)))

    def _numbers(self, order: Tensor, epoch: int, index: int) -> tuple[Tensor, ...]:
        size = self.global_size(index)
        share = slice(size * self.rank // self.world_size, size * (self.rank + 1) // self.world_size)
        places = order[index * self.batch_size :][share]
        if self.augmentation is None:
            return (places,)
        generator = seeded_generator(self.seed, "augmentation", epoch, index)
        return places, torch.rand(size, self.augmentation.draws, generator=generator)[share]

    def _check_shares(self) -> None:
        if self.batch_size % self.world_size:
            raise ValueError(
                f"batch_size={self.batch_size} cannot be shared by world_size={self.world_size} processes: "
                "DDP weights the processes equally, so their shares must be equal; give a multiple of world_size."
            )
        if len(self) == 0:
            raise ValueError(
                f"batch_size={self.batch_size} with drop_last leaves no batch: there are {len(self.split)} images; "
                "give a smaller batch_size, or drop_last=False."
            )
        if (last := self.global_size(len(self) - 1)) < self.world_size:
            raise ValueError(
                f"the last batch, {last} of {len(self.split)} images at batch_size={self.batch_size}, cannot be shared "
                f"by world_size={self.world_size} processes: one would get none; "
                "give another batch_size, or drop_last=True."
            )


def _check_statistics(channels: int, mean: Sequence[AnyNumber], std: Sequence[Number]) -> None:
    if len(mean) != channels or len(std) != channels:
        raise ValueError(
            f"{len(mean)} means and {len(std)} standard deviations cannot normalise images of {channels} channels: "
            "each channel has its own; give one number per channel."
        )
    if not all(s > 0 for s in std):
        raise ValueError(
            f"std must be positive, got {tuple(std)}: images are divided by it; use 1.0 for a constant channel."
        )
