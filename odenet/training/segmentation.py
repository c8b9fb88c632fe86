"""Semantic segmentation: a class for every pixel, by cross-entropy and Dice, judged as Long et al. 2015 judge it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from odenet.blocks.annotations import MayBeEmpty, Number, Whole
from odenet.blocks.arguments import check_fields, checked
from odenet.blocks.errors import OdenetWarning
from odenet.data.counts import whole_number
from odenet.training.tasks import Task

if TYPE_CHECKING:
    from torchmetrics import MetricCollection


@dataclass(frozen=True)
class Segmentation(Task):
    """One of K classes at every pixel: ℓ = (1 - λ)·H + λ·(1 - D), the weighted cross-entropy H and soft Dice D.

    Outputs are logits (m, K, h, w), targets class numbers (m, h, w), int64 (a split may hold them as bytes). With
    p = softmax(outputs) and q the one-hot targets, sums over the pixels that are judged, and C the classes shown there:

        H = -Σ w_y log p_y / Σ w_y        D = mean over k ∈ C of 2·Σ p_k q_k / (Σ p_k + Σ q_k)

    A batch without any such pixel has the loss 0. Metrics, with n_ij the number of pixels of class i called j over the
    whole split and t_i = Σ_j n_ij (Long et al. 2015, section 5):

    - mean_iou: mean of n_ii / (t_i + Σ_j n_ji - n_ii) over the classes that occur or are predicted; classes that never
      occur give an `OdenetWarning`;
    - pixel_accuracy: Σ n_ii / Σ t_i;
    - mean_accuracy: mean of n_ii / t_i; a class that is predicted and never occurs counts as 0;
    - frequency_weighted_iou: Σ t_i·IoU_i / Σ t_i;
    - dice: mean of 2·n_ii / (t_i + Σ_j n_ji);
    - boundary_f1: `odenet.measure.boundary_f1`, mean over images.

    Attributes:
        num_classes: K ≥ 2.
        ignore_index: The value of targets that are neither learned nor judged, such as 255 in VOC; None for none.
        class_weights: w, a positive number for each class; None for equal ones.
        dice: λ, 0 ≤ λ ≤ 1; 0 is the cross-entropy alone.

    Raises:
        TypeError: A whole number is none.
        ValueError: A value lies outside its bounds, or there is not one weight for each class.

    >>> Segmentation(4).check(torch.tensor([[[0, 3], [1, 255]]]))
    Traceback (most recent call last):
    ...
    ValueError: label 255 cannot be one of num_classes=4: classes are numbered from 0 to 3; correct the masks, give \
the right num_classes, or ignore_index=255 if such pixels are not to be judged.
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
                f"dice={self.dice} cannot be: it is the share of the Dice loss, the rest being cross-entropy; "
                "give a number from 0 to 1."
            )
        if self.class_weights is not None:
            _check_weights(self.class_weights, self.num_classes)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss over the pixels of a batch that are judged.

        Raises:
            ValueError: The network was built for another number of classes, or its logits are of another size than the
                masks.
            TypeError: The masks of the batch are not int64.
        """
        if targets.dtype != torch.int64:
            raise TypeError(
                f"masks of {targets.dtype} cannot be the targets of a batch: products of class numbers overflow in "
                "small integers; give torch.int64, e.g. masks.long()."
            )
        if outputs.shape != (len(targets), self.num_classes, *targets.shape[1:]):
            raise ValueError(
                f"outputs of shape {tuple(outputs.shape)} cannot be logits for masks of shape {tuple(targets.shape)} "
                f"and num_classes={self.num_classes}: a pixel has one logit for each class; give images and masks of "
                "one size, and the network and the task one number of classes."
            )
        judged = self._judged(targets)
        # An index that exists also where it does not count.
        classes = targets.where(judged, 0)
        loss = (1 - self.dice) * self._cross_entropy(outputs, classes, judged)
        return loss + self.dice * _dice_loss(outputs, classes, judged) if self.dice else loss

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean IoU over the pixels of a batch; that of a split is not the mean of those of its batches."""
        k = self.num_classes
        pairs = (k * targets + outputs.argmax(dim=1)).where(self._judged(targets), k * k).flatten()
        # bincount would wait for the device to know how many bins there are.
        counts = torch.zeros(k * k + 1, dtype=torch.int64, device=pairs.device).scatter_add_(
            0, pairs, torch.ones_like(pairs)
        )
        confusion = counts[:-1].view(k, k)
        union = confusion.sum(dim=0) + confusion.sum(dim=1) - confusion.diagonal()
        counted = union > 0
        if self.ignore_index is not None and 0 <= self.ignore_index < k:
            counted[self.ignore_index] = False
        return (confusion.diagonal() / union.clamp(min=1) * counted).sum() / counted.sum().clamp(min=1)

    def metrics(self) -> MetricCollection:
        """Those of the class's docstring, over all pixels of a split; each image counts the same in the last."""
        from torchmetrics import MetricCollection
        from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassJaccardIndex

        from odenet.training.boundary_metric import BoundaryF1
        from odenet.training.iou_metric import MeanIoU

        # validate_args would read values back from the device at every batch; check() has seen the targets.
        options = {"num_classes": self.num_classes, "ignore_index": self.ignore_index, "validate_args": False}
        return MetricCollection(
            {
                "mean_iou": MeanIoU(self.num_classes, self.ignore_index),
                "pixel_accuracy": MulticlassAccuracy(average="micro", **options),
                "mean_accuracy": MulticlassAccuracy(average="macro", **options),
                "frequency_weighted_iou": MulticlassJaccardIndex(average="weighted", **options),
                "dice": MulticlassF1Score(average="macro", **options),
                "boundary_f1": BoundaryF1(self.num_classes, self.ignore_index),
            }
        )

    @checked
    def check(self, targets: Tensor) -> None:
        """Refuse masks with other values than 0, …, K - 1 and the one to ignore; warn where all are to be ignored."""
        if targets.dtype not in (torch.int64, torch.uint8) or targets.ndim != 3:
            raise ValueError(
                f"targets of {targets.dtype} and shape {tuple(targets.shape)} cannot be masks: "
                "give one class number per pixel, torch.int64 or torch.uint8, (n, h, w)."
            )
        bad = targets[self._judged(targets) & ((targets < 0) | (targets >= self.num_classes))]
        if len(bad):
            label = int(bad[0])
            raise ValueError(
                f"label {label} cannot be one of num_classes={self.num_classes}: classes are numbered from 0 to "
                f"{self.num_classes - 1}; correct the masks, give the right num_classes, or ignore_index={label} if "
                "such pixels are not to be judged."
            )
        if self.ignore_index is not None and not self._judged(targets).any():
            warnings.warn(
                f"all {targets.numel()} pixels of {len(targets)} masks are {self.ignore_index}, which is not judged: "
                "there is nothing to learn and nothing to test in them. Give masks that show classes, or "
                "ignore_index=None if "
                f"{self.ignore_index} is one.",
                OdenetWarning,
                stacklevel=2,
            )

    def _judged(self, targets: Tensor) -> Tensor:
        if self.ignore_index is None:
            return torch.ones_like(targets, dtype=torch.bool)
        return targets != self.ignore_index

    def _cross_entropy(self, outputs: Tensor, classes: Tensor, judged: Tensor) -> Tensor:
        weights = judged.to(outputs.dtype)
        if self.class_weights is not None:
            weights = weights * outputs.new_tensor(self.class_weights)[classes]
        total = weights.sum()
        # Not the loss's own mean: over no pixel at all it would be NaN.
        return (weights * F.cross_entropy(outputs, classes, reduction="none")).sum() / total.where(total > 0, 1)


def _dice_loss(outputs: Tensor, classes: Tensor, judged: Tensor) -> Tensor:
    """1 - D, and 0 where nothing is judged."""
    p = outputs.softmax(dim=1) * judged.unsqueeze(1)
    q = torch.zeros_like(p).scatter_(1, classes.unsqueeze(1), judged.unsqueeze(1).to(p.dtype))
    true = q.sum(dim=(0, 2, 3))
    coefficients = 2 * (p * q).sum(dim=(0, 2, 3)) / (p.sum(dim=(0, 2, 3)) + true).clamp(min=1)
    shown = true > 0
    return ((1 - coefficients) * shown).sum() / shown.sum().clamp(min=1)


def _check_weights(weights: tuple[float, ...], num_classes: int) -> None:
    if len(weights) != num_classes or not all(weight > 0 for weight in weights):
        raise ValueError(
            f"class_weights={weights} cannot weight num_classes={num_classes}: every class has one weight, and none is "
            "left out by it; give one positive number for each class (ignore_index leaves pixels out)."
        )
