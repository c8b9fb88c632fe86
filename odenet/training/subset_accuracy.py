"""The share of images with the right answer for every class, as a metric that is reduced over processes."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class SubsetAccuracy(Metric):
    """The share of images for which the marks of all classes are right, a class being answered where its logit is > 0.

    torchmetrics' `MultilabelExactMatch` copies the number of images to the device in each batch; the host waits for it.
    """

    full_state_update = False
    right: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("right", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Count a batch: logits (m, K) and marks (m, K)."""
        self.right += ((outputs > 0) == targets).all(dim=1).sum()
        self.images += len(targets)

    def compute(self) -> Tensor:
        """The share so far."""
        return self.right.float() / self.images
