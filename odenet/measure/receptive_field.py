"""Receptive fields: which pixels of the image a pixel of the answer depends on, found by putting NaN in their place.

A NaN passes every convolution, pooling, norm and interpolation, whatever the weights, so what is NaN in the answer is
what depends on it: no layer has to be known. Where norms take statistics of the whole image, that is everything.
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
"""The longest period that is looked for."""

LARGEST_SIDE = 8192
"""The longest image that is tried, in pixels."""


class Reach(NamedTuple):
    """How far answers of a dense network depend on what lies beyond a cut through the image at a multiple of `stride`.

    Of max unpooling the answers also depend on where maxima lie; where there is one, a stride is added to both.
    """

    stride: int
    """Pixels after which the network repeats itself: moved by so many, an image has its answers moved by as many."""

    before: int
    """Rows after the cut whose answers depend on rows before it."""

    after: int
    """Rows before the cut whose answers depend on rows after it."""


@checked
def receptive_field(net: nn.Module, shape: Sequence[int], row: WholeFromZero) -> range:
    """The rows of the image that row `row` of net(image) depends on; in evaluation mode.

    Takes two evaluations for each doubling of the height. Between two rows of the answer the field moves by the stride.

    Args:
        net: images → maps (batch, channels, ·, ·).
        shape: of the image, (channels, height, width); large enough for the field not to meet its border, where it is
            cut off.
        row: of the answer.

    Raises:
        ValueError: the answer has no such row.

    >>> layers = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3))
    >>> receptive_field(layers, (1, 20, 20), row=2)
    range(4, 12)
    """
    if row >= (rows := _touched(net, shape, [slice(0)], axis=1).shape[1]):
        raise ValueError(
            f"row={row} cannot be: the answer to an image of shape {tuple(shape)} has {rows} rows; give one of them, "
            f"from 0 to {rows - 1}, or a larger image."
        )
    heights = range(shape[1] + 1)
    # With the rows before r NaN, the answer is clean for r up to the first row of its field; likewise from below.
    first = bisect_left(heights, True, key=lambda r: bool(_touched(net, shape, [slice(0, r)], axis=1)[0, row])) - 1
    end = bisect_left(heights, True, key=lambda r: not _touched(net, shape, [slice(r, None)], axis=1)[0, row])
    return range(first, end)


@checked
def reach(net: nn.Module, in_channels: int, *, stride: int | None = None) -> Reach:
    """How far the answers of a network that gives one for every pixel depend on other pixels; in evaluation mode.

    Takes images of one pixel's width, so that even of large networks it costs little.

    Args:
        net: images of any size → answers of that size.
        in_channels: of the images.
        stride: of the network; found if it is None and at most 64.

    Raises:
        ValueError: an answer depends on the whole image, or the network has no stride of at most 64.
    """
    stride = _stride(net, in_channels) if stride is None else stride
    unpooling = any(getattr(module, "needs_indices", False) for module in net.modules())
    before, after = (0, 0)
    for axis in (1, 2):
        side = _side_that_suffices(net, in_channels, stride, axis)
        cut = side // 2 // stride * stride
        touched = _touched(net, _strip(in_channels, side, axis), [slice(0, cut), slice(cut, None)], axis)
        before = max(before, _first_clean(touched[0]) - cut)
        after = max(after, cut - side + _first_clean(touched[1].flip(0)))
    return Reach(stride, before + unpooling * stride, after + unpooling * stride)


def _stride(net: nn.Module, in_channels: int) -> int:
    """The least s such that everything repeats itself after s rows: the line where answers become clean does."""
    longest = 4
    while longest <= LARGEST_STRIDE:  # most strides are small, and so is then the work
        side = _side_that_suffices(net, in_channels, 2 * longest, axis=1)
        cuts = [slice(0, side // 2 + extra) for extra in range(2 * longest)]
        lines = [_first_clean(rows) for rows in _touched(net, _strip(in_channels, side, 1), cuts, axis=1)]
        for stride in range(1, longest + 1):
            if all(later == line + stride for line, later in zip(lines, lines[stride:], strict=False)):
                return stride
        longest *= 4
    raise ValueError(
        f"the stride of {type(net).__name__} was to be found, but it does not repeat itself after {LARGEST_STRIDE} "
        "pixels or fewer: pass its stride."
    )


def _side_that_suffices(net: nn.Module, in_channels: int, room: int, axis: int) -> int:
    """A side of which the first and last rows are clean if the other half is NaN, with `room` rows to spare."""
    side = 256
    while side <= LARGEST_SIDE:
        halves = [slice(0, side // 2), slice(side // 2, None)]
        above, below = _touched(net, _strip(in_channels, side, axis), halves, axis)
        if _first_clean(above) + room < side and _first_clean(below.flip(0)) + room < side:
            return side
        side *= 2
    raise ValueError(
        f"{type(net).__name__} has answers that depend on pixels {LARGEST_SIDE // 2} rows away, or on the whole image: "
        "its receptive field cannot be measured. Norms of the whole image do that (GroupNorm): use BatchNorm, or say "
        "by hand how much of the image to take into account."
    )


def _strip(channels: int, side: int, axis: int) -> tuple[int, int, int]:
    return (channels, side, 1) if axis == 1 else (channels, 1, side)


def _first_clean(touched: Tensor) -> int:
    """The number of the row after the last that is touched."""
    rows = touched.nonzero()
    return int(rows.max()) + 1 if len(rows) else 0


def _touched(net: nn.Module, shape: Sequence[int], parts: Sequence[slice], axis: int) -> Tensor:
    """Which rows (axis 1) or columns (axis 2) of the answer are NaN where a part of those of the image is.

    Returns:
        bool, (parts, rows of the answer).
    """
    like = next(net.parameters(), torch.zeros(()))
    images = torch.zeros(len(parts), 1, *shape, dtype=like.dtype, device=like.device)
    for image, part in zip(images, parts, strict=True):
        image.movedim(1 + axis, 0)[part] = math.nan
    with in_mode(net, training=False), torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        # Under vmap an ODE block does not look at its values, and refuse those that are NaN.
        answers = torch.func.vmap(net)(images)
    return answers.isnan().movedim(2 + axis, 1).flatten(2).any(dim=2)
