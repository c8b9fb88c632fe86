"""Metrics of the confusion matrix of a split, updated without host synchronization and reduced over processes."""

from __future__ import annotations

import warnings
from abc import abstractmethod

import torch
from torch import Tensor

from odenet.blocks.errors import OdenetWarning
from odenet.blocks.extras import Extra
from odenet.training.confusion import confusion

with Extra("experiments"):
    from torchmetrics import Metric


class ConfusionMetric(Metric):
    """Base class of metrics that are functions of the confusion matrix of a whole split.

    In a `MetricCollection` they form one compute group, so that the matrix is computed once.

    Args:
        num_classes: Number of classes K.
        ignore_index: Value of targets that are left out.
    """

    full_state_update = False
    matrix: Tensor

    def __init__(self, num_classes: int, ignore_index: int | None = None) -> None:
        super().__init__()
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.add_state("matrix", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch: logits (m, K, h, w) and true classes (m, h, w)."""
        self.matrix += confusion(outputs.argmax(dim=1), targets, self.num_classes, self.ignore_index)

    def compute(self) -> Tensor:
        """Return the metric over all batches so far."""
        correct = self.matrix.diagonal().float()
        return self.from_counts(correct, self.matrix.sum(dim=1).float(), self.matrix.sum(dim=0).float())

    @abstractmethod
    def from_counts(self, correct: Tensor, true: Tensor, predicted: Tensor) -> Tensor:
        """Return the metric from n_ii, t_i = Σ_j n_ij and Σ_j n_ji, each of shape (K,)."""


class PixelAccuracy(ConfusionMetric):
    """Pixel accuracy: Σ n_ii / Σ t_i."""

    def from_counts(self, correct: Tensor, true: Tensor, predicted: Tensor) -> Tensor:  # noqa: ARG002
        """Return the share of pixels whose class is predicted correctly."""
        return correct.sum() / true.sum().clamp(min=1)


class MeanAccuracy(ConfusionMetric):
    """Mean accuracy: mean of n_ii / t_i over the classes that occur or are predicted; 0 for those that never occur."""

    def from_counts(self, correct: Tensor, true: Tensor, predicted: Tensor) -> Tensor:
        """Return the mean over classes of the share of their pixels that are predicted correctly."""
        return _mean(correct / true.clamp(min=1), true + predicted > 0)


class Dice(ConfusionMetric):
    """Dice coefficient: mean of 2·n_ii / (t_i + Σ_j n_ji) over the classes that occur or are predicted."""

    def from_counts(self, correct: Tensor, true: Tensor, predicted: Tensor) -> Tensor:
        """Return the mean Dice coefficient."""
        return _mean(2 * correct / (true + predicted).clamp(min=1), true + predicted > 0)


class FrequencyWeightedIoU(ConfusionMetric):
    """Frequency-weighted IoU: Σ t_i·IoU_i / Σ t_i with IoU_i = n_ii / (t_i + Σ_j n_ji - n_ii)."""

    def from_counts(self, correct: Tensor, true: Tensor, predicted: Tensor) -> Tensor:
        """Return the mean of the IoU of the classes, each weighted by its number of pixels."""
        return (true * correct / (true + predicted - correct).clamp(min=1)).sum() / true.sum()


class MeanIoU(ConfusionMetric):
    """Mean IoU: mean of n_ii / (t_i + Σ_j n_ji - n_ii) over the classes that occur or are predicted.

    The class `ignore_index` is left out. Classes that occur at no pixel give an `OdenetWarning`, because the mean says
    nothing about them unless they are predicted.
    """

    def from_counts(self, correct: Tensor, true: Tensor, predicted: Tensor) -> Tensor:
        """Return the mean IoU."""
        self._warn_of_absent_classes((true > 0).tolist())
        counts = true + predicted > 0
        if self.ignore_index is not None and 0 <= self.ignore_index < self.num_classes:
            counts[self.ignore_index] = False
        return (correct / (true + predicted - correct).clamp(min=1) * counts).sum() / counts.sum()

    def _warn_of_absent_classes(self, occurs: list[bool]) -> None:
        absent = [str(k) for k, there in enumerate(occurs) if not there and k != self.ignore_index]
        if absent:
            what = "no pixel is judged" if not any(occurs) else f"no pixel is of class {', '.join(absent)}"
            warnings.warn(
                f"{what} in all of these masks ({len(absent)} of {len(occurs)} classes are absent): means over classes "
                "leave out absent classes unless they are predicted. Evaluate on images that show every class, or "
                "report the number of classes that occur.",
                OdenetWarning,
                stacklevel=2,
            )


def _mean(values: Tensor, counts: Tensor) -> Tensor:
    return (values * counts).sum() / counts.sum().clamp(min=1)
