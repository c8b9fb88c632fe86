"""Tasks: what a network is trained for, as a loss, the metrics that judge it, and the targets that make sense."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from odenet.blocks.annotations import Number, Whole
from odenet.blocks.arguments import check_fields, checked
from odenet.data.counts import whole_number

if TYPE_CHECKING:
    from torchmetrics import MetricCollection


class Task(ABC):
    """A loss ℓ(outputs, targets) with its metrics. A new task is one subclass; the training loop knows only this.

    Attributes:
        headline: The name of the metric that progress bars and tables show; one of those in `metrics()`.
    """

    headline: ClassVar[str]

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of a batch, a scalar that is differentiated."""

    @abstractmethod
    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The headline metric of one batch, a scalar on the device: cheap enough to be followed in training."""

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """New, empty metrics for a whole split, reduced over processes, by name."""

    @abstractmethod
    def check(self, targets: Tensor) -> None:
        """Refuse targets that this task has no meaning for; called once per split, since it waits for the device.

        Raises:
            ValueError: A target lies outside its range.
        """


@dataclass(frozen=True)
class Classification(Task):
    """One of K classes: ℓ = -Σ_k q_k log softmax(outputs)_k with q = (1 - ε) e_y + ε/K, and the accuracy.

    Outputs are logits (m, K), targets class numbers (m,), int64.

    Attributes:
        num_classes: K ≥ 2.
        label_smoothing: ε, 0 ≤ ε < 1 (Szegedy et al. 2016, section 7); 0 is the plain cross-entropy.
        top: For each k of these, 2 ≤ k < K, the metric "top-k accuracy": the label is among the k largest logits.

    Raises:
        TypeError: `num_classes` is not a whole number.
        ValueError: A value lies outside its bounds.

    >>> Classification(10).check(torch.tensor([3, 10]))
    Traceback (most recent call last):
    ...
    ValueError: label 10 cannot be one of num_classes=10: classes are numbered from 0 to 9; correct the labels, or \
give the right num_classes.
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
                f"label_smoothing={self.label_smoothing} cannot be: it is the share of the target that is spread over "
                "all classes; give a number of at least 0 and less than 1."
            )

        for k in self.top:
            whole_number("top", k, 2, self.num_classes - 1, because="the top 1, and all classes, are no new metric")

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy, in nats.

        Raises:
            ValueError: The network was built for another number of classes.
        """
        if outputs.shape != (len(targets), self.num_classes):
            raise ValueError(
                f"outputs of shape {tuple(outputs.shape)} cannot be logits of {len(targets)} examples for "
                f"num_classes={self.num_classes}: give the network that number of classes, or the task that of the "
                "network."
            )
        return F.cross_entropy(outputs, targets, label_smoothing=self.label_smoothing)

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The share of right answers."""
        return (outputs.argmax(dim=1) == targets).float().mean()

    def metrics(self) -> MetricCollection:
        """The accuracy over all examples, each counting the same, and those of `top`."""
        from torchmetrics import Metric, MetricCollection
        from torchmetrics.classification import MulticlassAccuracy

        # validate_args would read values back from the device at every batch; check() has seen the targets.
        def accuracy(k: int) -> Metric | MetricCollection:
            return MulticlassAccuracy(self.num_classes, top_k=k, average="micro", validate_args=False)

        ranked = {f"top-{k} accuracy": accuracy(k) for k in self.top}
        # A compute group would unite metrics whose counts agree on the first batch, and so mistake one k for another.
        return MetricCollection({"accuracy": accuracy(1)} | ranked, compute_groups=False)

    @checked
    def check(self, targets: Tensor) -> None:
        """Refuse labels outside 0, …, K - 1."""
        if targets.dtype != torch.int64 or targets.ndim != 1:
            raise ValueError(
                f"targets of {targets.dtype} and shape {tuple(targets.shape)} cannot be class numbers: "
                "give one label per example, torch.int64, (n,); many labels per example are the task MultiLabel."
            )
        bad = targets[(targets < 0) | (targets >= self.num_classes)]
        if len(bad):
            raise ValueError(
                f"label {int(bad[0])} cannot be one of num_classes={self.num_classes}: classes are numbered from 0 to "
                f"{self.num_classes - 1}; correct the labels, or give the right num_classes."
            )
