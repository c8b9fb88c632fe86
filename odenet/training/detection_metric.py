"""Average precision of boxes and masks by torchmetrics and faster-coco-eval, under the names that tables show."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from odenet.blocks.extras import Extra
from odenet.data.detection_targets import Target

with Extra("experiments"):
    from torchmetrics.detection import MeanAveragePrecision

_NAMES = {
    "map": "mAP",
    "map_50": "AP50",
    "map_75": "AP75",
    "map_small": "AP small",
    "map_medium": "AP medium",
    "map_large": "AP large",
}
"""Names of torchmetrics' values in tables."""


class ObjectPrecision(MeanAveragePrecision):
    """Average precision of COCO over a split; see `odenet.training.Detection`.

    Args:
        classes: Names of the classes; label k means `classes[k - 1]`.
        masks: Whether masks are compared too.

    Raises:
        ModuleNotFoundError: if faster-coco-eval is not installed.
    """

    warn_on_many_detections = False

    def __init__(self, classes: tuple[str, ...], *, masks: bool) -> None:
        kinds: Any = ("bbox", "segm") if masks else ("bbox",)
        try:
            super().__init__(iou_type=kinds, class_metrics=True, backend="faster_coco_eval")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "the average precision of a detector needs faster-coco-eval, which is not installed: install it with "
                "`pip install 'odenet[data]'`.",
                name="faster_coco_eval",
            ) from error
        self.classes, self.masks = classes, masks

    def update(self, preds: list[Target], target: list[Target]) -> None:
        """Add the objects found in a batch, and the true ones.

        Raises:
            ValueError: if a box or a score is not finite.
        """
        for place, found in enumerate(preds):
            if not (found["boxes"].isfinite().all() and found["scores"].isfinite().all()):
                raise ValueError(
                    f"the detector found objects in image {place} of a batch whose boxes or scores are not finite: its "
                    "weights or the image contain NaN or infinity, or a flow diverges with this stepping; look there."
                )
        super().update([self._prepared(found) for found in preds], [self._prepared(truth) for truth in target])

    def values(self) -> dict[str, Tensor]:
        """Return torchmetrics' values by torchmetrics' names, such as its `extended_summary`."""
        return MeanAveragePrecision.compute(self)

    def compute(self) -> dict[str, Tensor]:
        """Return the values by name; NaN where the split has no object."""
        values = self.values()
        found = values["classes"].flatten().tolist()
        prefixes = {"bbox_": "", "segm_": "mask "} if self.masks else {"": ""}
        named: dict[str, Tensor] = {}
        for prefix, shown in prefixes.items():
            named |= {f"{shown}{name}": _or_nan(values[f"{prefix}{key}"]) for key, name in _NAMES.items()}
            of_classes = dict(zip(found, values[f"{prefix}map_per_class"].flatten(), strict=True))
            for label, name in enumerate(self.classes, start=1):
                named[f"{shown}AP {name}"] = _or_nan(of_classes.get(label, torch.tensor(-1.0)))
        return named

    def _prepared(self, objects: Target) -> Target:
        """Return the objects with masks as yes or no, (k, height, width), if masks are compared."""
        if not self.masks:
            return {name: value for name, value in objects.items() if name != "masks"}
        masks = objects["masks"]
        return objects | {"masks": masks.squeeze(1) > 0.5 if masks.ndim == 4 else masks > 0}


def _or_nan(value: Tensor) -> Tensor:
    """Return a value of torchmetrics, where -1 stands for a mean over nothing, with NaN in its place."""
    return torch.where(value < 0, torch.nan, value.float())
