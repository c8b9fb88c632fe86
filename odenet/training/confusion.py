"""Confusion matrix of a segmentation: n_ij is the number of pixels of class i that are predicted as j."""

from __future__ import annotations

import torch
from torch import Tensor


def confusion(found: Tensor, targets: Tensor, num_classes: int, ignore_index: int | None) -> Tensor:
    """Return the confusion matrix n_ij of predicted and true classes, without pixels of `ignore_index`: int64, (K, K).

    `torch.bincount`, which torchmetrics uses, makes the host wait for an accelerator; this function does not.
    """
    cells = num_classes**2
    places = num_classes * targets + found
    if ignore_index is not None:
        places = places.where(targets != ignore_index, cells)
    places = places.flatten()
    counts = torch.zeros(cells + 1, dtype=torch.int64, device=places.device)
    return counts.scatter_add_(0, places, torch.ones_like(places))[:cells].view(num_classes, num_classes)
