"""Detection and instance segmentation: boxes, and masks, of the objects in an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from odenet.blocks.annotations import Inside
from odenet.blocks.arguments import check_fields
from odenet.blocks.extras import Extra
from odenet.data.class_names import class_names
from odenet.data.detection_targets import DetectionTargets, Target, require_target, without_crowds
from odenet.training.tasks import Task

if TYPE_CHECKING:
    from torchmetrics import MetricCollection


@dataclass(frozen=True)
class Detection(Task):
    """Objects of K classes in images: ℓ is the sum of the losses of a detector, and the metric average precision.

    Networks are torchvision's detectors, such as those of `odenet.models`. In training mode they take images and
    targets (`odenet.data.detection_targets.Target`) and return a dictionary of losses, so a training step has no score;
    in evaluation mode they take images and return the objects found, so an evaluation has no loss. Crowds are left out
    of the training, and objects found in a crowd do not count in an evaluation.

    The metrics are those of COCO, computed by faster-coco-eval; NaN for a class or size that is in no image:

    - mAP: mean over the classes, and over the thresholds 0.5, 0.55, …, 0.95 of the intersection over union with a true
      box, of the area under the curve of precision over recall; at most 100 objects of an image count;
    - AP50, AP75: the same for one threshold;
    - AP small, AP medium, AP large: the same for objects of less than 32² pixels, up to 96², and more;
    - AP NAME: the same for a class;
    - mask mAP, mask AP50, …, with `masks`: the same for the intersection over union of masks.

    Attributes:
        classes: Names of the K classes; label k means `classes[k - 1]`.
        masks: Whether the network finds masks, which are then compared too, at the probability 1/2.

    Raises:
        TypeError: if the names are not strings.
        ValueError: if there is no class, or two classes have the same name.
    """

    classes: Annotated[tuple[str, ...], Inside()]
    masks: bool = False

    headline: ClassVar[str] = "mAP"
    answers_in_training: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "classes", class_names(self.classes))

    def outputs(self, network: nn.Module, inputs: Any, targets: list[Target]) -> Any:
        """Compute the losses of a batch in training mode, and the objects found in evaluation mode.

        Raises:
            ValueError: if the task has masks and the targets have none.
        """
        if self.masks and (lacking := [place for place, target in enumerate(targets) if "masks" not in target]):
            raise ValueError(
                f"the targets of image {lacking[0]} of a batch have no masks, and the task Detection has masks=True: "
                "make the batches with masks=True, or the task with masks=False."
            )
        if network.training:
            return network(inputs, [without_crowds(target) for target in targets])
        return network(inputs)

    def loss(self, outputs: Any, targets: list[Target]) -> Tensor:  # noqa: ARG002 (the network has compared them)
        """Return the sum of the losses that a detector returned in training mode.

        Raises:
            ValueError: if the outputs are the objects found in evaluation mode.
        """
        if not isinstance(outputs, Mapping):
            raise ValueError(
                f"the loss of the outputs of a detector in evaluation mode was asked for ({type(outputs).__name__}); "
                "torchvision's detectors compute their losses in training mode only: call detector.train() first, or "
                "compare by the metrics."
            )
        return torch.stack([*outputs.values()]).sum()

    def score(self, outputs: Mapping[str, Tensor], targets: list[Target]) -> Tensor:  # noqa: ARG002
        """Return NaN: losses do not tell what a detector finds, so a training step has no score."""
        return torch.full((), torch.nan, device=next(iter(outputs.values())).device)

    def metrics(self) -> MetricCollection:
        """Return the metrics of the class's docstring."""
        with Extra("experiments"):
            from torchmetrics import MetricCollection

        from odenet.training.detection_metric import ObjectPrecision

        return MetricCollection({"precision": ObjectPrecision(self.classes, masks=self.masks)})

    def check(self, targets: DetectionTargets) -> None:
        """Raise an error unless the targets are objects of the K classes with boxes inside of their images.

        Raises:
            TypeError: if they are no `DetectionTargets`, or not of the right dtypes.
            ValueError: if a box, a label or a mask is wrong; the message names the image and the object.
        """
        if not isinstance(targets, DetectionTargets):
            raise TypeError(
                f"the targets of the task Detection must be DetectionTargets, got {type(targets).__name__}: each image "
                "has a dictionary of boxes and labels; pass ObjectBatches, DetectionBatches, or batches whose "
                "split.labels are DetectionTargets."
            )
        for place, (target, size) in enumerate(zip(targets, targets.sizes, strict=True)):
            require_target(target, size, f"image {place}")
            labels = target["labels"]
            if len(labels) and (most := int(labels.max())) > len(self.classes):
                raise ValueError(
                    f"object {int(labels.argmax())} of image {place} has the label {most}: there are "
                    f"{len(self.classes)} classes, numbered from 1; correct the label, or name all classes."
                )
