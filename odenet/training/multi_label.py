"""Multi-label classification: each of K classes is present in an image or absent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from odenet.blocks.annotations import Inside
from odenet.blocks.arguments import check_fields, checked
from odenet.blocks.extras import Extra
from odenet.data.class_names import class_names
from odenet.training.tasks import Task

if TYPE_CHECKING:
    from torchmetrics import Metric, MetricCollection


@dataclass(frozen=True)
class MultiLabel(Task):
    """Any of K classes: ℓ = -Σ_k [y_k log σ(z_k) + (1 - y_k) log(1 - σ(z_k))]/K, and average precision.

    Outputs are logits z (m, K), targets are binary labels y (m, K), int64, 0 or 1. A class is predicted if σ(z) > 1/2.
    Average precision, the area under the curve of precision over recall, needs no threshold; it is NaN for a class that
    is in no image.

    Attributes:
        classes: Names of the K classes.

    Raises:
        TypeError: if the names are not strings.
        ValueError: if there is no class, or two classes have the same name.

    >>> MultiLabel(("horse", "church")).check(torch.tensor([0, 1]))
    Traceback (most recent call last):
    ...
    ValueError: targets must be torch.int64 of shape (n, 2), got torch.int64 of shape (2,): each of the 2 classes \
horse, church has a 0 or 1; for one label per image use the task Classification.
    """

    classes: Annotated[tuple[str, ...], Inside()]

    headline: ClassVar[str] = "subset_accuracy"

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "classes", class_names(self.classes))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean binary cross-entropy over images and classes, in nats.

        Raises:
            ValueError: if the network was built for another number of classes.
        """
        if outputs.shape != targets.shape:
            raise ValueError(
                f"outputs must have the shape {tuple(targets.shape)} of the targets, got {tuple(outputs.shape)}: there "
                f"is one logit for each of the {len(self.classes)} classes; build the network for that number."
            )
        return F.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype))

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the subset accuracy: share of images with all classes correct (mean precision would need a sort)."""
        return ((outputs > 0) == targets).all(dim=1).float().mean()

    def metrics(self) -> MetricCollection:
        """Return the metrics: "subset_accuracy", "AP NAME" for every class, and their mean "mAP"."""
        with Extra("experiments"):
            from torchmetrics import MetricCollection
            from torchmetrics.classification import BinaryAveragePrecision, MultilabelAveragePrecision
            from torchmetrics.wrappers import LambdaInputTransformer

        from odenet.training.subset_accuracy import SubsetAccuracy

        # The sigmoid is applied here, because the metrics would take logits that all lie in [0, 1] for probabilities.
        def of_all(metric: Metric) -> Metric:
            return LambdaInputTransformer(metric, transform_pred=torch.sigmoid)

        def of_class(k: int) -> Metric:
            metric = BinaryAveragePrecision(validate_args=False)
            return LambdaInputTransformer(metric, lambda outputs: outputs[:, k].sigmoid(), lambda marks: marks[:, k])

        count = len(self.classes)
        metrics: dict[str, Metric | MetricCollection] = {
            "subset_accuracy": SubsetAccuracy(),
            "mAP": of_all(MultilabelAveragePrecision(count, validate_args=False)),
        }
        of_classes = {f"AP {name}": of_class(k) for k, name in enumerate(self.classes)}
        # Without groups, because the search for metrics with equal states makes the host wait.
        return MetricCollection(metrics | of_classes, compute_groups=False)

    @checked
    def check(self, targets: Tensor) -> None:
        """Raise a `ValueError` unless the targets are a 0 or 1 for each class."""
        k = len(self.classes)
        if targets.dtype != torch.int64 or targets.shape[1:] != (k,):
            raise ValueError(
                f"targets must be torch.int64 of shape (n, {k}), got {targets.dtype} of shape {tuple(targets.shape)}: "
                f"each of the {k} classes {', '.join(self.classes)} has a 0 or 1; for one label per image use the task "
                "Classification."
            )
        bad = targets[(targets != 0) & (targets != 1)]
        if len(bad):
            raise ValueError(
                f"targets must be 0 or 1, got {int(bad[0])}: a class is in an image (1) or not (0); correct the labels."
            )
