"""Many labels: each of K classes is in an image or not, one question a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from odenet.blocks.annotations import Inside
from odenet.blocks.arguments import check_fields, checked
from odenet.data.class_names import class_names
from odenet.training.tasks import Task

if TYPE_CHECKING:
    from torchmetrics import Metric, MetricCollection


@dataclass(frozen=True)
class MultiLabel(Task):
    """Any of K classes: ℓ = -Σ_k [y_k log σ(z_k) + (1 - y_k) log(1 - σ(z_k))]/K, and average precision.

    Outputs are logits z (m, K), targets marks y (m, K), int64, 0 or 1. A class is answered where σ(z) > 1/2. Average
    precision, the area under precision over recall, needs no threshold; it is not defined, NaN, for a class that no
    image has.

    Attributes:
        classes: The K names.

    Raises:
        TypeError: The names of the classes are none.
        ValueError: There is no class, or two have one name.

    >>> MultiLabel(("horse", "church")).check(torch.tensor([0, 1]))
    Traceback (most recent call last):
    ...
    ValueError: targets of torch.int64 and shape (2,) cannot be marks of the 2 classes horse, church: give a 0 or 1 \
for each, torch.int64, (n, 2); one label an image is the task Classification.
    """

    classes: Annotated[tuple[str, ...], Inside()]

    headline: ClassVar[str] = "subset_accuracy"

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "classes", class_names(self.classes))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean binary cross-entropy over images and classes, in nats.

        Raises:
            ValueError: The network was built for another number of classes.
        """
        if outputs.shape != targets.shape:
            raise ValueError(
                f"outputs of shape {tuple(outputs.shape)} cannot be logits of targets of shape {tuple(targets.shape)}: "
                f"each of the {len(self.classes)} classes has its own; give the network that number of classes."
            )
        return F.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype))

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The share of images with the right answer for every class: the mean precision of a batch costs a sort."""
        return ((outputs > 0) == targets).all(dim=1).float().mean()

    def metrics(self) -> MetricCollection:
        """Subset accuracy, "AP NAME" for every class, and their mean, "mAP"."""
        from torchmetrics import MetricCollection
        from torchmetrics.classification import BinaryAveragePrecision, MultilabelAveragePrecision, MultilabelExactMatch
        from torchmetrics.wrappers import LambdaInputTransformer

        # Left to themselves, the metrics take logits that happen to lie in [0, 1] for probabilities.
        def of_all(metric: Metric) -> Metric:
            return LambdaInputTransformer(metric, transform_pred=torch.sigmoid)

        def of_class(k: int) -> Metric:
            metric = BinaryAveragePrecision(validate_args=False)
            return LambdaInputTransformer(metric, lambda outputs: outputs[:, k].sigmoid(), lambda marks: marks[:, k])

        count = len(self.classes)
        metrics: dict[str, Metric | MetricCollection] = {
            "subset_accuracy": of_all(MultilabelExactMatch(count, validate_args=False)),
            "mAP": of_all(MultilabelAveragePrecision(count, validate_args=False)),
        }
        return MetricCollection(metrics | {f"AP {name}": of_class(k) for k, name in enumerate(self.classes)})

    @checked
    def check(self, targets: Tensor) -> None:
        """Refuse what is not a 0 or 1 for each class."""
        k = len(self.classes)
        if targets.dtype != torch.int64 or targets.shape[1:] != (k,):
            raise ValueError(
                f"targets of {targets.dtype} and shape {tuple(targets.shape)} cannot be marks of the {k} classes "
                f"{', '.join(self.classes)}: give a 0 or 1 for each, torch.int64, (n, {k}); one label an image is the "
                "task Classification."
            )
        bad = targets[(targets != 0) & (targets != 1)]
        if len(bad):
            raise ValueError(f"mark {int(bad[0])} cannot be: a class is in an image, 1, or not, 0; correct it.")
