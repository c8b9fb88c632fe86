"""Receptive fields: the pixels of the image on which a pixel of the output depends, found by setting pixels to NaN.

A NaN propagates through every convolution, pooling, norm and interpolation, whatever the weights. So the output pixels
that are NaN are those that depend on it, and no layer has to be known. If norms take statistics of the whole image, all
output pixels depend on it.
"""

from __future__ import annotations

import math
import warnings
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from odenet.blocks.annotations import WholeFromZero
from odenet.blocks.arguments import checked
from odenet.measure.mode import in_mode

LARGEST_STRIDE = 64
"""Largest stride that is searched, in pixels."""

LARGEST_SIDE = 8192
"""Largest side of an image that is tried, in pixels."""


class Reach(NamedTuple):
    """Number of rows around a cut through the image, at a multiple of `stride`, whose outputs depend on the other side.

    With max unpooling the outputs also depend on the positions of maxima, so that a stride is added to both numbers.
    """

    stride: int
    """Stride of the network: shifting the image by this number of pixels shifts the output by the same number."""

    before: int
    """Number of rows after the cut whose outputs depend on rows before it."""

    after: int
    """Number of rows before the cut whose outputs depend on rows after it."""


@checked
def receptive_field(net: nn.Module, shape: Sequence[int], row: WholeFromZero) -> range:
    """Find the rows of the image on which row `row` of net(image) depends, in evaluation mode.

    This takes two evaluations for each doubling of the height. The receptive fields of neighbouring rows of the output
    are a stride apart.

    Args:
        net: network that maps images to maps (batch, channels, ·, ·).
        shape: shape of the image, (channels, height, width); the receptive field is cut off at the border of the image.
        row: row of the output, from 0.

    Raises:
        ValueError: if the output has no such row.

    >>> layers = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3))
    >>> receptive_field(layers, (1, 20, 20), row=2)
    range(4, 12)
    """
    if row >= (rows := _nan_rows(net, shape, [slice(0)], axis=1).shape[1]):
        raise ValueError(
            f"row = {row}; the output for an image of shape {tuple(shape)} has {rows} rows: pass a row "
            f"from 0 to {rows - 1}, or a larger image."
        )
    heights = range(shape[1] + 1)
    # If the rows before r are NaN, the output row is finite for all r up to the first row of its field.
    first = bisect_left(heights, True, key=lambda r: bool(_nan_rows(net, shape, [slice(0, r)], axis=1)[0, row])) - 1
    end = bisect_left(heights, True, key=lambda r: not _nan_rows(net, shape, [slice(r, None)], axis=1)[0, row])
    return range(first, end)


@checked
def reach(net: nn.Module, in_channels: int, *, stride: int | None = None) -> Reach:
    """Find how far the output of a network with one output per pixel depends on other pixels, in evaluation mode.

    The images are one pixel wide, so that the cost is small even for large networks.

    Args:
        net: network that maps images of any size to outputs of the same size.
        in_channels: number of channels of the images.
        stride: stride of the network; None to search for one of at most 64.

    Raises:
        ValueError: if an output depends on the whole image, or the network has no stride of at most 64.
    """
    stride = _stride(net, in_channels) if stride is None else stride
    unpooling = any(getattr(module, "needs_indices", False) for module in net.modules())
    before, after = (0, 0)
    for axis in (1, 2):
        side = _sufficient_side(net, in_channels, stride, axis)
        cut = side // 2 // stride * stride
        reached = _nan_rows(net, _strip(in_channels, side, axis), [slice(0, cut), slice(cut, None)], axis)
        before = max(before, _first_finite(reached[0]) - cut)
        after = max(after, cut - side + _first_finite(reached[1].flip(0)))
    return Reach(stride, before + unpooling * stride, after + unpooling * stride)


def _stride(net: nn.Module, in_channels: int) -> int:
    """Find the least s such that moving the cut by s rows moves the first finite row of the output by s."""
    longest = 4
    while longest <= LARGEST_STRIDE:  # in steps, because most strides are small and need little work
        side = _sufficient_side(net, in_channels, 2 * longest, axis=1)
        cuts = [slice(0, side // 2 + extra) for extra in range(2 * longest)]
        lines = [_first_finite(rows) for rows in _nan_rows(net, _strip(in_channels, side, 1), cuts, axis=1)]
        for stride in range(1, longest + 1):
            if all(later == line + stride for line, later in zip(lines, lines[stride:], strict=False)):
                return stride
        longest *= 4
    raise ValueError(
        f"the stride of {type(net).__name__} was to be found, but no shift of the image by up to {LARGEST_STRIDE} "
        "pixels shifts its output by as many: pass its stride."
    )


def _sufficient_side(net: nn.Module, in_channels: int, room: int, axis: int) -> int:
    """Find a side for which at least `room` rows at either end are finite if the other half of the image is NaN."""
    side = 256
    while side <= LARGEST_SIDE:
        halves = [slice(0, side // 2), slice(side // 2, None)]
        above, below = _nan_rows(net, _strip(in_channels, side, axis), halves, axis)
        if _first_finite(above) + room < side and _first_finite(below.flip(0)) + room < side:
            return side
        side *= 2
    raise ValueError(
        f"{type(net).__name__} has outputs that depend on pixels {LARGEST_SIDE // 2} rows away, or on the whole image; "
        "then the receptive field cannot be measured, for example with norms of the whole image (GroupNorm): use "
        "BatchNorm, or set by hand how much of the image to take into account."
    )


def _strip(channels: int, side: int, axis: int) -> tuple[int, int, int]:
    return (channels, side, 1) if axis == 1 else (channels, 1, side)


def _first_finite(is_nan: Tensor) -> int:
    """Return the index of the row after the last one that is NaN."""
    rows = is_nan.nonzero()
    return int(rows.max()) + 1 if len(rows) else 0


def _nan_rows(net: nn.Module, shape: Sequence[int], parts: Sequence[slice], axis: int) -> Tensor:
    """Find the rows (axis 1) or columns (axis 2) of the output that are NaN if a part of those of the image is NaN.

    Returns:
        Boolean tensor of shape (parts, rows of the output).
    """
    like = next(net.parameters(), torch.zeros(()))
    images = torch.zeros(len(parts), 1, *shape, dtype=like.dtype, device=like.device)
    for image, part in zip(images, parts, strict=True):
        image.movedim(1 + axis, 0)[part] = math.nan
    with in_mode(net, training=False), torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        # Under vmap an ODE block does not check its values, so it accepts NaN.
        outputs = torch.func.vmap(net)(images)
    return outputs.isnan().movedim(2 + axis, 1).flatten(2).any(dim=2)
