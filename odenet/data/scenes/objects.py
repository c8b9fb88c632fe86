"""Batches of scenes with the objects in them, for detectors: boxes, classes and masks."""

from __future__ import annotations

import torch
from torch import Tensor

from odenet.blocks.annotations import Whole
from odenet.blocks.arguments import checked
from odenet.data.detection_targets import DetectionTargets, Target
from odenet.data.scenes.batch import SceneBatch
from odenet.data.scenes.batches import SceneBatches, SceneTargets
from odenet.data.scenes.scenes import Scenes


class ObjectBatches(SceneBatches):
    """Batches of scenes as torchvision's detectors take them: images in [0, 1], and a `Target` for each.

    Batches are functions of (scenes, epoch, index), as those of `SceneBatches`. An object that is hidden by others is
    left out, and class k of the scenes has the label k + 1. Detectors normalize the images themselves.

    Args:
        scenes: Scenes to draw from; batches live on their device.
        count: Number of scenes in an epoch.
        batch_size: Scenes in a batch over all processes, a multiple of `world_size`.
        masks: Whether the targets contain masks of the objects' visible pixels.
        fresh: Whether every epoch has new scenes.
        rank: Rank of this process, 0 ≤ rank < world_size.
        world_size: Number of processes that share every batch.

    Raises:
        TypeError: if a count is not a whole number.
        ValueError: if a count is out of range, or a batch cannot be shared equally.

    >>> batches = ObjectBatches(Scenes(size=(16, 16)), 10, 4, masks=True)
    >>> images, targets = next(batches.epoch(0))
    >>> images.shape, len(targets), sorted(targets[0])
    (torch.Size([4, 3, 16, 16]), 4, ['boxes', 'labels', 'masks'])
    """

    @checked
    def __init__(
        self,
        scenes: Scenes,
        count: Whole,
        batch_size: Whole,
        *,
        masks: bool = False,
        fresh: bool = False,
        rank: Whole = 0,
        world_size: Whole = 1,
    ) -> None:
        self.masks = masks
        super().__init__(scenes, count, batch_size, fresh=fresh, rank=rank, world_size=world_size)

    @property
    def split(self) -> SceneTargets:
        """Boxes and labels of an epoch if the scenes are fixed; of the first batch if they are fresh."""
        images, owners, classes = self._kept
        targets = targets_of(self._batch(images, owners, classes), masks=False)
        return SceneTargets(DetectionTargets(targets, [self.scenes.size] * len(targets)))

    def _finished(self, images: Tensor, *targets: Tensor) -> tuple[Tensor, list[Target]]:
        return images.float().div_(255), targets_of(self._batch(images, *targets), masks=self.masks)

    def _batch(self, images: Tensor, owners: Tensor, classes: Tensor) -> SceneBatch:
        return SceneBatch(images, owners, classes, len(self.scenes.classes), self.scenes.smallest)

    def _targeted(self, batch: SceneBatch) -> tuple[Tensor, Tensor, Tensor]:
        return batch.images, batch.owners, batch.classes


@checked
def targets_of(batch: SceneBatch, *, masks: bool = True) -> list[Target]:
    """Return the visible objects of each scene, with labels from 1; the host waits for the device once.

    >>> [sorted(target["labels"].tolist()) for target in targets_of(Scenes(seed=1).draw(range(3)))]
    [[4], [1, 2], [3, 4, 4]]

    Args:
        batch: Scenes.
        masks: Whether to return the masks of the visible pixels, bool, too.
    """
    visible = batch.classes >= 0
    order = visible.to(torch.uint8).argsort(dim=1, descending=True, stable=True)  # those that are visible come first
    rows = torch.arange(len(batch), device=order.device)[:, None]
    parts = {"boxes": batch.boxes[rows, order], "labels": batch.classes[rows, order] + 1}
    if masks:
        parts["masks"] = batch.instances[rows, order]
    counts = visible.sum(dim=1).tolist()
    return [{name: part[place, :count] for name, part in parts.items()} for place, count in enumerate(counts)]
