"""Metrics of the confusion matrix of a split, counted without a wait of the host, and reduced over processes."""

from __future__ import annotations

import warnings
from abc import abstractmethod

import torch
from torch import Tensor
from torchmetrics import Metric

from odenet.blocks.errors import OdenetWarning
from odenet.training.confusion import confusion


class ConfusionMetric(Metric):
    """A function of the confusion matrix of a whole split.

    In a `MetricCollection` all of them are one compute group, which counts once.

    Args:
        num_classes: K.
        ignore_index: Value of targets that are not judged.
    """

    full_state_update = False
    matrix: Tensor

    def __init__(self, num_classes: int, ignore_index: int | None = None) -> None:
        super().__init__()
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.add_state("matrix", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Count a batch: logits (m, K, h, w) and classes (m, h, w)."""
        self.matrix += confusion(outputs.argmax(dim=1), targets, self.num_classes, self.ignore_index)

    def compute(self) -> Tensor:
        """The metric so far."""
        right = self.matrix.diagonal().float()
        return self.of(right, self.matrix.sum(dim=1).float(), self.matrix.sum(dim=0).float())

    @abstractmethod
    def of(self, right: Tensor, true: Tensor, called: Tensor) -> Tensor:
        """The metric from n_ii, Σ_j n_ij and Σ_j n_ji of each class, (K,)."""


class PixelAccuracy(ConfusionMetric):
    """Σ n_ii / Σ t_i."""

    def of(self, right: Tensor, true: Tensor, called: Tensor) -> Tensor:  # noqa: ARG002
        """The share of pixels that are called rightly."""
        return right.sum() / true.sum().clamp(min=1)


class MeanAccuracy(ConfusionMetric):
    """The mean of n_ii / t_i over the classes that occur or are predicted; of one that never occurs it is 0."""

    def of(self, right: Tensor, true: Tensor, called: Tensor) -> Tensor:
        """The mean over classes of the share of their pixels that are called rightly."""
        return _mean(right / true.clamp(min=1), true + called > 0)


class Dice(ConfusionMetric):
    """The mean of 2·n_ii / (t_i + Σ_j n_ji) over the classes that occur or are predicted."""

    def of(self, right: Tensor, true: Tensor, called: Tensor) -> Tensor:
        """The mean overlap."""
        return _mean(2 * right / (true + called).clamp(min=1), true + called > 0)


class FrequencyWeightedIoU(ConfusionMetric):
    """Σ t_i·IoU_i / Σ t_i with IoU_i = n_ii / (t_i + Σ_j n_ji - n_ii)."""

    def of(self, right: Tensor, true: Tensor, called: Tensor) -> Tensor:
        """The mean of the IoU of each class over the pixels that are of it."""
        return (true * right / (true + called - right).clamp(min=1)).sum() / true.sum()


class MeanIoU(ConfusionMetric):
    """The mean of n_ii / (t_i + Σ_j n_ji - n_ii) over the classes that occur or are predicted.

    A class to ignore does not count. Classes that occur at no pixel give an `OdenetWarning`: where they are not
    predicted either, a mean of 1 says nothing of them.
    """

    def of(self, right: Tensor, true: Tensor, called: Tensor) -> Tensor:
        """The mean IoU."""
        self._warn_of_absent_classes((true > 0).tolist())
        counts = true + called > 0
        if self.ignore_index is not None and 0 <= self.ignore_index < self.num_classes:
            counts[self.ignore_index] = False
        return (right / (true + called - right).clamp(min=1) * counts).sum() / counts.sum()

    def _warn_of_absent_classes(self, occurs: list[bool]) -> None:
        absent = [str(k) for k, there in enumerate(occurs) if not there and k != self.ignore_index]
        if absent:
            what = "no pixel is judged" if not any(occurs) else f"no pixel is of class {', '.join(absent)}"
            warnings.warn(
                f"{what} in all of these masks ({len(absent)} of {len(occurs)} classes are absent): means over classes "
                "leave out what is absent, and judge it only where it is predicted. Evaluate on images that show every "
                "class, or give the number of those that occur.",
                OdenetWarning,
                stacklevel=2,
            )


def _mean(values: Tensor, counts: Tensor) -> Tensor:
    return (values * counts).sum() / counts.sum().clamp(min=1)
