"""Tasks: what a network's outputs are compared with, by which loss, and how it is scored."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy


class Task(ABC):
    """Target, loss and metrics of a kind of problem.

    Attributes:
        headline: the metric that a progress line shows.
    """

    headline: str

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The scalar that is minimized, a mean over the batch."""

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """Fresh metrics, each called with (outputs, targets); fractions in [0, 1]."""

    @abstractmethod
    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """Raise a `ValueError` where targets do not fit the outputs; called on the first batch of a training."""


class Classification(Task):
    """One label of K classes for an image: softmax cross-entropy, scored by top-1 accuracy.

    Outputs are logits of shape (batch, K), targets int64 of shape (batch,).

    Args:
        num_classes: K.
        label_smoothing: weight of the uniform distribution in the target, in [0, 1).
    """

    headline = "accuracy"

    def __init__(self, num_classes: int, label_smoothing: float = 0.0) -> None:
        if num_classes < 2:
            raise ValueError(f"num_classes = {num_classes}; classification chooses among classes: pass 2 or more.")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing = {label_smoothing}; it is a weight: pass a number in [0, 1).")
        self.num_classes, self.label_smoothing = num_classes, label_smoothing

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """-log softmax(outputs)[target], the mean over the batch."""
        return F.cross_entropy(outputs, targets, label_smoothing=self.label_smoothing)

    def metrics(self) -> MetricCollection:
        """Top-1 accuracy over all images (not the mean over classes)."""
        return MetricCollection({"accuracy": MulticlassAccuracy(self.num_classes, average="micro")})

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """Logits for K classes, and one label in 0, …, K-1 for each image."""
        if outputs.shape != (len(targets), self.num_classes):
            raise ValueError(
                f"outputs of shape {tuple(outputs.shape)} for {len(targets)} labels of {self.num_classes} classes; "
                f"logits are (batch, classes): build the network with num_classes={self.num_classes}."
            )
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= self.num_classes:
            raise ValueError(
                f"labels from {low} to {high} for {self.num_classes} classes; labels count from 0 to "
                f"{self.num_classes - 1}: correct them, or name the right number of classes."
            )
