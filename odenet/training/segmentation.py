"""Semantic segmentation: a class for every pixel, with cross-entropy, Dice loss and the metrics of Long et al. 2015."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from odenet.blocks.annotations import MayBeEmpty, Number, Whole
from odenet.blocks.arguments import check_fields, checked
from odenet.blocks.errors import OdenetWarning
from odenet.blocks.extras import Extra
from odenet.data.counts import whole_number
from odenet.training.confusion import confusion
from odenet.training.tasks import Task

if TYPE_CHECKING:
    from torchmetrics import MetricCollection


@dataclass(frozen=True)
class Segmentation(Task):
    """One of K classes at every pixel: ℓ = (1 - λ)·H + λ·(1 - D), the weighted cross-entropy H and soft Dice D.

    Outputs are logits (m, K, h, w), targets class numbers (m, h, w), int64 (a split may hold them as bytes). With
    p = softmax(outputs), q the one-hot targets, sums over valid pixels (not ignored), and C the classes of these:

        H = -Σ w_y log p_y / Σ w_y        D = mean over k ∈ C of 2·Σ p_k q_k / (Σ p_k + Σ q_k)

    A batch without any such pixel has the loss 0. Metrics, with n_ij the number of pixels of class i predicted as j in
    the whole split and t_i = Σ_j n_ij (Long et al. 2015, section 5):

    - mean_iou: mean of n_ii / (t_i + Σ_j n_ji - n_ii) over the classes that occur or are predicted; classes that never
      occur give an `OdenetWarning`;
    - pixel_accuracy: Σ n_ii / Σ t_i;
    - mean_accuracy: mean of n_ii / t_i; a class that is predicted and never occurs counts as 0;
    - frequency_weighted_iou: Σ t_i·IoU_i / Σ t_i;
    - dice: mean of 2·n_ii / (t_i + Σ_j n_ji);
    - boundary_f1: `odenet.measure.boundary_f1`, mean over images.

    Attributes:
        num_classes: Number of classes K ≥ 2.
        ignore_index: Value of targets that are left out of loss and metrics, such as 255 in VOC; None for none.
        class_weights: Weights w, a positive number for each class; None for equal weights.
        dice: Share λ of the Dice loss, 0 ≤ λ ≤ 1; 0 is the cross-entropy alone.

    Raises:
        TypeError: if a count is not a whole number.
        ValueError: if a value is out of range, or the number of weights differs from K.

    >>> Segmentation(4).check(torch.tensor([[[0, 3], [1, 255]]]))
    Traceback (most recent call last):
    ...
    ValueError: labels must be from 0 to 3 for num_classes=4, got 255: correct the masks or num_classes, or pass \
ignore_index=255 to leave such pixels out.
    """

    num_classes: Whole
    ignore_index: Whole | None = None
    class_weights: Annotated[tuple[Number, ...], MayBeEmpty()] | None = None
    dice: Number = 0.0

    headline: ClassVar[str] = "mean_iou"

    def __post_init__(self) -> None:
        check_fields(self)
        whole_number("num_classes", self.num_classes, 2, because="a choice has at least two classes")
        if self.ignore_index is not None:
            whole_number("ignore_index", self.ignore_index, -(2**63), because="it is a value of the masks")
        if not 0 <= self.dice <= 1:
            raise ValueError(
                f"dice must be from 0 to 1, got {self.dice}: it is the share of the Dice loss, and the rest is "
                "cross-entropy."
            )
        if self.class_weights is not None:
            _check_weights(self.class_weights, self.num_classes)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss over the pixels of a batch that are not ignored.

        Raises:
            ValueError: if the network was built for another number of classes, or its logits differ in size from the
                masks.
            TypeError: if the masks of the batch are not int64.
        """
        if targets.dtype != torch.int64:
            raise TypeError(
                f"the masks of a batch must be torch.int64, got {targets.dtype}: products of class numbers overflow in "
                "small integers; pass masks.long()."
            )
        if outputs.shape != (len(targets), self.num_classes, *targets.shape[1:]):
            raise ValueError(
                f"outputs must have one logit per class for masks of shape {tuple(targets.shape)} and "
                f"num_classes={self.num_classes}, got shape {tuple(outputs.shape)}: use images and masks of the same "
                "size, and the same number of classes for the network and the task."
            )
        valid = self._valid_mask(targets)
        # Ignored pixels get class 0, because their value may be no valid index.
        classes = targets.where(valid, 0)
        loss = (1 - self.dice) * self._cross_entropy(outputs, classes, valid)
        return loss + self.dice * _dice_loss(outputs, classes, valid) if self.dice else loss

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean IoU over the pixels of a batch; the mean over batches is not that of the split."""
        k = self.num_classes
        matrix = confusion(outputs.argmax(dim=1), targets, k, self.ignore_index)
        union = matrix.sum(dim=0) + matrix.sum(dim=1) - matrix.diagonal()
        present = union > 0
        if self.ignore_index is not None and 0 <= self.ignore_index < k:
            present[self.ignore_index] = False
        return (matrix.diagonal() / union.clamp(min=1) * present).sum() / present.sum().clamp(min=1)

    def metrics(self) -> MetricCollection:
        """Return the metrics of the class's docstring over a split: over all pixels, and boundary_f1 over images."""
        with Extra("experiments"):
            from torchmetrics import MetricCollection

        from odenet.training.boundary_metric import BoundaryF1
        from odenet.training.confusion_metrics import Dice, FrequencyWeightedIoU, MeanAccuracy, MeanIoU, PixelAccuracy

        kinds = {
            "mean_iou": MeanIoU,
            "pixel_accuracy": PixelAccuracy,
            "mean_accuracy": MeanAccuracy,
            "frequency_weighted_iou": FrequencyWeightedIoU,
            "dice": Dice,
        }
        metrics = {name: metric(self.num_classes, self.ignore_index) for name, metric in kinds.items()}
        # The groups are given, because the search for metrics with equal states makes the host wait.
        return MetricCollection(
            {**metrics, "boundary_f1": BoundaryF1(self.num_classes, self.ignore_index)},
            compute_groups=[list(kinds), ["boundary_f1"]],
        )

    @checked
    def check(self, targets: Tensor) -> None:
        """Raise a `ValueError` for values other than 0, …, K - 1 and `ignore_index`; warn if all pixels are ignored."""
        if targets.dtype not in (torch.int64, torch.uint8) or targets.ndim != 3:
            raise ValueError(
                f"targets must be torch.int64 or torch.uint8 of shape (n, h, w), got {targets.dtype} of shape "
                f"{tuple(targets.shape)}: masks have one class number per pixel."
            )
        bad = targets[self._valid_mask(targets) & ((targets < 0) | (targets >= self.num_classes))]
        if len(bad):
            label = int(bad[0])
            raise ValueError(
                f"labels must be from 0 to {self.num_classes - 1} for num_classes={self.num_classes}, got {label}: "
                f"correct the masks or num_classes, or pass ignore_index={label} to leave such pixels out."
            )
        if self.ignore_index is not None and not self._valid_mask(targets).any():
            warnings.warn(
                f"all {targets.numel()} pixels of {len(targets)} masks are {self.ignore_index}, which is ignored: "
                "there is nothing to learn or to test. Use masks that show classes, or ignore_index=None if "
                f"{self.ignore_index} is a class.",
                OdenetWarning,
                stacklevel=2,
            )

    def _valid_mask(self, targets: Tensor) -> Tensor:
        if self.ignore_index is None:
            return torch.ones_like(targets, dtype=torch.bool)
        return targets != self.ignore_index

    def _cross_entropy(self, outputs: Tensor, classes: Tensor, valid: Tensor) -> Tensor:
        weights = valid.to(outputs.dtype)
        if self.class_weights is not None:
            weights = weights * _on_device(self.class_weights, outputs.dtype, outputs.device)[classes]
        total = weights.sum()
        # The reduction "mean" of cross_entropy is not used, because it is NaN over no pixels.
        return (weights * F.cross_entropy(outputs, classes, reduction="none")).sum() / total.where(total > 0, 1)


@lru_cache(maxsize=8)
@torch.inference_mode(mode=False)
def _on_device(weights: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the weights as a tensor, cached because the host waits for each copy to the device."""
    return torch.tensor(weights, dtype=dtype, device=device)


def _dice_loss(outputs: Tensor, classes: Tensor, valid: Tensor) -> Tensor:
    """Return 1 - D; 0 if all pixels are ignored."""
    p = outputs.softmax(dim=1) * valid.unsqueeze(1)
    q = torch.zeros_like(p).scatter_(1, classes.unsqueeze(1), valid.unsqueeze(1).to(p.dtype))
    true = q.sum(dim=(0, 2, 3))
    coefficients = 2 * (p * q).sum(dim=(0, 2, 3)) / (p.sum(dim=(0, 2, 3)) + true).clamp(min=1)
    shown = true > 0
    return ((1 - coefficients) * shown).sum() / shown.sum().clamp(min=1)


def _check_weights(weights: tuple[float, ...], num_classes: int) -> None:
    if len(weights) != num_classes or not all(weight > 0 for weight in weights):
        raise ValueError(
            f"class_weights must be {num_classes} positive numbers, got {weights}: every class has one weight; use "
            "ignore_index to leave pixels out."
        )
