"""Batches of images from files with the objects in them, for detectors."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from odenet.blocks.annotations import Whole, WholeFromZero
from odenet.blocks.arguments import checked
from odenet.data.counts import whole_number
from odenet.data.detection_images import DetectionImages
from odenet.data.detection_targets import DetectionTargets, Target
from odenet.data.scenes.batches import SceneTargets
from odenet.data.seeds import seeded_generator
from odenet.data.transfer import sent_to


class DetectionBatches:
    """Batches of images of any sizes, as torchvision's detectors take them: in random order and mirrored in training.

    Images are in [0, 1]; detectors normalize and resize them. Batch i of epoch e is a function of (seed, e, i). With
    `world_size` processes, each gets its share of every batch.

    Args:
        images: Images and their objects.
        batch_size: Images in a batch over all processes, a multiple of `world_size`.
        train: Whether images come in random order, and mirrored at random.
        masks: Whether the targets contain masks.
        seed: Seed of the random numbers.
        device: Device of the batches.
        rank: Rank of this process, 0 ≤ rank < world_size.
        world_size: Number of processes.

    Raises:
        TypeError: if a count is not a whole number.
        ValueError: if a count is out of range, or a batch cannot be shared equally.
    """

    @checked
    def __init__(
        self,
        images: DetectionImages,
        batch_size: Whole,
        *,
        train: bool,
        masks: bool = False,
        seed: Whole = 0,
        device: torch.device | str = "cpu",
        rank: Whole = 0,
        world_size: Whole = 1,
    ) -> None:
        self.world_size = whole_number("world_size", world_size, 1, because="it is the number of processes")
        self.rank = whole_number("rank", rank, 0, world_size - 1, because=f"there are {world_size} processes")
        self.batch_size = whole_number(
            "batch_size", batch_size, 1, len(images), because=f"there are {len(images)} images"
        )
        if batch_size % world_size:
            raise ValueError(
                f"batch_size={batch_size} cannot be shared by world_size={world_size} processes: their shares are "
                "equal; give a multiple of world_size."
            )
        seeded_generator(seed, "check")  # raises for a bad seed here, not in the first epoch
        self.images, self.train, self.masks, self.seed = images, train, masks, seed
        self.device = torch.device(device)
        targets = [self._sent(target) for target in images.targets]
        self.split = SceneTargets(DetectionTargets(targets, list(images.sizes)))

    def __len__(self) -> int:
        """Return the number of batches; a smaller last one counts only in a test by a single process."""
        whole, rest = divmod(len(self.images), self.batch_size)
        return whole + (rest > 0 and not self.train and self.world_size == 1)

    @checked
    def epoch(self, epoch: WholeFromZero, start: WholeFromZero = 0) -> Iterator[tuple[list[Tensor], list[Target]]]:
        """Iterate over the batches start, start + 1, … of an epoch: images, float32 (3, H, W), and their targets."""
        order = torch.arange(len(self.images))
        if self.train:
            order = torch.randperm(len(self.images), generator=seeded_generator(self.seed, "order", epoch))
        return (self._batch(order, epoch, index) for index in range(start, len(self)))

    def _batch(self, order: Tensor, epoch: int, index: int) -> tuple[list[Tensor], list[Target]]:
        chosen = order[index * self.batch_size :][: self.batch_size]
        u = torch.rand(len(chosen), generator=seeded_generator(self.seed, "mirrored", epoch, index))
        share = slice(*(len(chosen) * rank // self.world_size for rank in (self.rank, self.rank + 1)))
        images, targets = [], []
        for number, mirror in zip(chosen[share].tolist(), u[share].tolist(), strict=True):
            pixels, target = self.images.read(number, masks=self.masks)
            image = pixels / 255
            if self.train and mirror > 0.5:
                image, target = mirrored(image, target)
            images.append(sent_to(self.device, image))
            targets.append(self._sent(target))
        return images, targets

    def _sent(self, target: Target) -> Target:
        return {name: sent_to(self.device, value) for name, value in target.items()}


def mirrored(image: Tensor, target: Target) -> tuple[Tensor, Target]:
    """Mirror an image, its boxes and its masks from left to right.

    >>> _, target = mirrored(torch.zeros(3, 4, 8), {"boxes": torch.tensor([[1.0, 0, 3, 4]])})
    >>> target["boxes"].tolist()
    [[5.0, 0.0, 7.0, 4.0]]
    """
    x1, y1, x2, y2 = target["boxes"].unbind(dim=1)
    width = image.shape[2]
    changed = {"boxes": torch.stack([width - x2, y1, width - x1, y2], dim=1)}
    if "masks" in target:
        changed["masks"] = target["masks"].flip(2)
    return image.flip(2), target | changed
