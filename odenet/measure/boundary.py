"""Boundary F1: whether the outlines of a segmentation lie where they should (Csurka et al. 2013, section 3)."""

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
    """F1 = 2·P·R/(P + R) of the outlines of each image, mean over the classes that it shows or is said to show.

    The outline of a class is its pixels with one of another class among their eight neighbours. Precision P is the
    share of the predicted outline within a distance r of the true one, recall R that of the true outline within r of
    the predicted one. The edge of the image is no outline, nor is that of a region to be ignored: where the masks
    ignore all borders between objects, as those of VOC do, F1 says little.

    Args:
        labels: predicted classes, (m, h, w), int64.
        targets: true classes, likewise.
        num_classes: K; classes are 0, …, K - 1.
        ignore_index: the value of targets that are not judged.
        tolerance: r as a share of the diagonal of the image, 0.75 % in the paper; r is at least one pixel.

    Returns:
        A number for each image, (m,), float32; 1 where neither mask has an outline.

    >>> square = torch.zeros(1, 16, 16, dtype=torch.int64)
    >>> square[:, 4:9, 4:9] = 1
    >>> boundary_f1(square, square.roll(1, dims=2), num_classes=2), boundary_f1(square, square.roll(8, dims=2), 2)
    (tensor([1.]), tensor([0.]))
    """
    judged = torch.ones_like(targets, dtype=torch.bool) if ignore_index is None else targets != ignore_index
    found, true = (_outlines(masks, judged, num_classes) for masks in (labels, targets))
    radius = max(1.0, tolerance * math.hypot(*targets.shape[1:]))
    precision, recall = _share(found, near=true, radius=radius), _share(true, near=found, radius=radius)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=torch.finfo(precision.dtype).tiny)
    shown = (found.sum(dim=(2, 3)) + true.sum(dim=(2, 3))) > 0
    return torch.where(shown.any(dim=1), (f1 * shown).sum(dim=1) / shown.sum(dim=1).clamp(min=1), 1.0)


def _outlines(labels: Tensor, judged: Tensor, num_classes: int) -> Tensor:
    """The outline of each class as zeros and ones, (m, K, h, w)."""
    classes = torch.arange(num_classes, device=labels.device).view(1, -1, 1, 1)
    inside = labels.unsqueeze(1) == classes
    judged = judged.unsqueeze(1)
    beside = F.max_pool2d((~inside & judged).float(), 3, stride=1, padding=1)
    return (inside & judged) * beside


def _share(outlines: Tensor, *, near: Tensor, radius: float) -> Tensor:
    """The share of each outline that has a pixel of `near` within the radius, (m, K); 0 of none."""
    reached = (F.conv2d(near.flatten(0, 1).unsqueeze(1), _disc(radius).to(near), padding="same") > 0.5).view_as(near)
    return (outlines * reached).sum(dim=(2, 3)) / outlines.sum(dim=(2, 3)).clamp(min=1)


def _disc(radius: float) -> Tensor:
    """The pixels within `radius` of the middle one, as a filter of zeros and ones."""
    reach = torch.arange(-int(radius), int(radius) + 1)
    return (reach.square() + reach.square().unsqueeze(1) <= radius**2).float()[None, None]
