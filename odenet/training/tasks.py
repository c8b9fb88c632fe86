"""Tasks that a network is trained for: a loss, metrics, and validation of the targets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from odenet.blocks.annotations import Number, Whole
from odenet.blocks.arguments import check_fields, checked
from odenet.blocks.extras import Extra
from odenet.data.counts import whole_number

if TYPE_CHECKING:
    from torchmetrics import MetricCollection


class Task(ABC):
    """Base class of tasks: a loss ℓ(outputs, targets) with metrics; the training loop uses only this interface.

    Attributes:
        headline: Name of the metric of `metrics()` that progress bars and tables show.
        answers_in_training: Whether a network answers in training mode as it does in evaluation mode. If it does not,
            as torchvision's detectors, which return losses in training mode and objects in evaluation mode, there is
            no score of a training step, no loss of an evaluation, and a step is not captured as a CUDA graph.
    """

    headline: ClassVar[str]
    answers_in_training: ClassVar[bool] = True

    def outputs(self, network: nn.Module, inputs: Any, targets: Any) -> Any:  # noqa: ARG002 (for detectors)
        """Compute the outputs of a network for a batch; most networks take the inputs alone."""
        return network(inputs)

    @abstractmethod
    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the mean loss of a batch, a scalar that is differentiated."""

    @abstractmethod
    def score(self, outputs: Any, targets: Any) -> Tensor:
        """Return the headline metric of one batch, a scalar on the device, computed in every training step."""

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """Return new, empty metrics for a whole split by name, reduced over processes."""

    @abstractmethod
    def check(self, targets: Any) -> None:
        """Raise an error for targets that are invalid for this task; called once per split, as it waits for the device.

        Raises:
            ValueError: if a target is out of range.
        """


@dataclass(frozen=True)
class Classification(Task):
    """One of K classes: ℓ = -Σ_k q_k log softmax(outputs)_k with q = (1 - ε) e_y + ε/K, and the accuracy.

    Outputs are logits (m, K), targets class numbers (m,), int64.

    Attributes:
        num_classes: Number of classes K ≥ 2.
        label_smoothing: Label smoothing ε, 0 ≤ ε < 1 (Szegedy et al. 2016, section 7); 0 is the plain cross-entropy.
        top: Numbers k, 2 ≤ k < K, for which to compute the metric "top-k accuracy" (label among the k largest logits).

    Raises:
        TypeError: if `num_classes` is not a whole number.
        ValueError: if a value is out of range.

    >>> Classification(10).check(torch.tensor([3, 10]))
    Traceback (most recent call last):
    ...
    ValueError: labels must be from 0 to 9 for num_classes=10, got 10: correct the labels or num_classes.
    """

    num_classes: Whole
    label_smoothing: Number = 0.0
    top: tuple[Whole, ...] = ()

    headline: ClassVar[str] = "accuracy"

    def __post_init__(self) -> None:
        check_fields(self)
        whole_number("num_classes", self.num_classes, 2, because="a choice has at least two classes")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(
                f"label_smoothing must be ≥ 0 and < 1, got {self.label_smoothing}: it is the share of the target that "
                "is spread over all classes."
            )

        for k in self.top:
            whole_number("top", k, 2, self.num_classes - 1, because="the top 1, and all classes, are no new metric")

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy, in nats.

        Raises:
            ValueError: if the network was built for another number of classes.
        """
        if outputs.shape != (len(targets), self.num_classes):
            raise ValueError(
                f"outputs must have the shape ({len(targets)}, {self.num_classes}), one logit per class of each "
                f"example, got {tuple(outputs.shape)}: build the network for num_classes={self.num_classes}, or the "
                "task for the classes of the network."
            )
        return F.cross_entropy(outputs, targets, label_smoothing=self.label_smoothing)

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the accuracy: share of examples with the correct class."""
        return (outputs.argmax(dim=1) == targets).float().mean()

    def metrics(self) -> MetricCollection:
        """Return the metrics: the accuracy over all examples, and the top-k accuracies of `top`."""
        with Extra("experiments"):
            from torchmetrics import Metric, MetricCollection
            from torchmetrics.classification import MulticlassAccuracy

        # validate_args would read values from the device at every batch; check() has validated the targets.
        def accuracy(k: int) -> Metric | MetricCollection:
            return MulticlassAccuracy(self.num_classes, top_k=k, average="micro", validate_args=False)

        ranked = {f"top-{k} accuracy": accuracy(k) for k in self.top}
        # Compute groups would merge metrics whose counts agree on the first batch, even if their k differs.
        return MetricCollection({"accuracy": accuracy(1)} | ranked, compute_groups=False)

    @checked
    def check(self, targets: Tensor) -> None:
        """Raise a `ValueError` unless the targets are labels 0, …, K - 1."""
        if targets.dtype != torch.int64 or targets.ndim != 1:
            raise ValueError(
                f"targets must be torch.int64 of shape (n,), got {targets.dtype} of shape {tuple(targets.shape)}: each "
                "example has one label; for many labels per example use the task MultiLabel."
            )
        bad = targets[(targets < 0) | (targets >= self.num_classes)]
        if len(bad):
            raise ValueError(
                f"labels must be from 0 to {self.num_classes - 1} for num_classes={self.num_classes}, got "
                f"{int(bad[0])}: correct the labels or num_classes."
            )
