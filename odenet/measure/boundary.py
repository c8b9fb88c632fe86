"""Boundary F1 score: how well the outlines of a segmentation match the true ones (Csurka et al. 2013, section 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from odenet.blocks.annotations import AnyWhole, NumberFromZero
from odenet.blocks.arguments import checked


@checked
def boundary_f1(
    labels: Tensor,
    targets: Tensor,
    num_classes: int,
    *,
    ignore_index: AnyWhole | None = None,
    tolerance: NumberFromZero = 0.0075,
) -> Tensor:
    """Compute F1 = 2·P·R/(P + R) of the outlines of each image, averaged over its true and predicted classes.

    The outline of a class is the set of its pixels with another class among their eight neighbours. Precision P is the
    fraction of the predicted outline within a distance r of the true one; recall R is the fraction of the true outline
    within r of the predicted one. The edge of the image and of an ignored region do not count as outlines. So F1 says
    little for masks that ignore all borders between objects, such as those of VOC.

    Args:
        labels: predicted classes of shape (m, h, w), int64.
        targets: true classes of shape (m, h, w), int64.
        num_classes: number K of classes 0, …, K - 1.
        ignore_index: value of targets that are ignored; None for none.
        tolerance: r as a fraction of the diagonal of the image, 0.75 % in the paper; r is at least one pixel.

    Returns:
        F1 of each image, of shape (m,), float32; 1 if neither mask has an outline.

    >>> square = torch.zeros(1, 16, 16, dtype=torch.int64)
    >>> square[:, 4:9, 4:9] = 1
    >>> boundary_f1(square, square.roll(1, dims=2), num_classes=2), boundary_f1(square, square.roll(8, dims=2), 2)
    (tensor([1.]), tensor([0.]))
    """
    counted = torch.ones_like(targets, dtype=torch.bool) if ignore_index is None else targets != ignore_index
    found, true = (_outlines(masks, counted, num_classes) for masks in (labels, targets))
    radius = max(1.0, tolerance * math.hypot(*targets.shape[1:]))
    precision, recall = _fraction_near(found, near=true, radius=radius), _fraction_near(true, near=found, radius=radius)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=torch.finfo(precision.dtype).tiny)
    shown = (found.sum(dim=(2, 3)) + true.sum(dim=(2, 3))) > 0
    return torch.where(shown.any(dim=1), (f1 * shown).sum(dim=1) / shown.sum(dim=1).clamp(min=1), 1.0)


def _outlines(labels: Tensor, counted: Tensor, num_classes: int) -> Tensor:
    """Return the outline of each class as zeros and ones, (m, K, h, w)."""
    classes = torch.arange(num_classes, device=labels.device).view(1, -1, 1, 1)
    inside = labels.unsqueeze(1) == classes
    counted = counted.unsqueeze(1)
    near_other = F.max_pool2d((~inside & counted).float(), 3, stride=1, padding=1)
    return (inside & counted) * near_other


def _fraction_near(outlines: Tensor, *, near: Tensor, radius: float) -> Tensor:
    """Return the fraction of each outline within `radius` of an outline in `near`, (m, K); 0 for an empty outline."""
    reached = (
        F.conv2d(near.flatten(0, 1).unsqueeze(1), _disc_filter(radius, near.device), padding="same") > 0.5
    ).view_as(near)
    return (outlines * reached).sum(dim=(2, 3)) / outlines.sum(dim=(2, 3)).clamp(min=1)


def _disc_filter(radius: float, device: torch.device) -> Tensor:
    """Build a filter of ones within `radius` of its middle pixel and zeros elsewhere."""
    offsets = torch.arange(-int(radius), int(radius) + 1, device=device)
    return (offsets.square() + offsets.square().unsqueeze(1) <= radius**2).float()[None, None]
