"""Boundary F1 score of a split as a torchmetrics metric, reduced over processes."""

from __future__ import annotations

import torch
from torch import Tensor

from odenet.blocks.extras import Extra
from odenet.measure.boundary import boundary_f1

with Extra("experiments"):
    from torchmetrics import Metric


class BoundaryF1(Metric):
    """Mean of `boundary_f1` over all images, with equal weights.

    Args:
        num_classes: Number of classes K.
        ignore_index: Value of targets that are left out.
    """

    full_state_update = False
    total: Tensor
    images: Tensor

    def __init__(self, num_classes: int, ignore_index: int | None = None) -> None:
        super().__init__()
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add the images of a batch: logits (m, K, h, w) and true classes (m, h, w)."""
        scores = boundary_f1(outputs.argmax(dim=1), targets, self.num_classes, ignore_index=self.ignore_index)
        self.total += scores.sum()
        self.images += len(scores)

    def compute(self) -> Tensor:
        """Return the mean over all images so far."""
        return (self.total / self.images).float()
