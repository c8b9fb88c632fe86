"""Subset accuracy as a torchmetrics metric, reduced over processes."""

from __future__ import annotations

import torch
from torch import Tensor

from odenet.blocks.extras import Extra

with Extra("experiments"):
    from torchmetrics import Metric


class SubsetAccuracy(Metric):
    """Share of images for which all classes are predicted correctly; a class is predicted if its logit is > 0.

    Unlike torchmetrics' `MultilabelExactMatch`, it does not make the host wait in each batch for a copy to the device.
    """

    full_state_update = False
    right: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("right", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch: logits (m, K) and binary labels (m, K)."""
        self.right += ((outputs > 0) == targets).all(dim=1).sum()
        self.images += len(targets)

    def compute(self) -> Tensor:
        """Return the share over all images so far."""
        return self.right.float() / self.images
