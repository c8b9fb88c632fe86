"""Inception modules: filters of several sizes side by side on one map, concatenated (Szegedy et al. 2014, section 4).

Large filters on many channels are expensive: n filters of k×k on c channels take h·w·k²·c·n multiply-adds. The naive
module has this cost, and its pooling branch outputs all of its input channels, so each module is wider than the one
before. The module with bottlenecks first reduces the channels by 1×1 convolutions. On 256 channels at 28×28 pixels,
with 128, 192 and 96 filters, the naive module takes 854 M multiply-adds and outputs 672 channels; with bottlenecks of
64 channels it takes 271 M and outputs 480.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from odenet.blocks.arguments import checked, checked_value
from odenet.blocks.branches import Norm


class InceptionWidths(NamedTuple):
    """Numbers of channels in a module with bottlenecks, in the order of table 1 of Szegedy et al. 2014."""

    ones: int
    """Number of 1×1 filters."""

    reduced_threes: int
    """Number of input channels of the 3×3 filters, after the bottleneck."""

    threes: int
    """Number of 3×3 filters."""

    reduced_fives: int
    """Number of input channels of the 5×5 filters, after the bottleneck."""

    fives: int
    """Number of 5×5 filters."""

    pooled: int
    """Number of channels to which the pooling branch is projected."""


@checked
def convolution(
    in_channels: int, channels: int, size: int, *, stride: int = 1, norm: Norm | None = None
) -> nn.Sequential:
    """Build relu ∘ norm ∘ conv: (batch, in_channels, h, w) → (batch, channels, ⌈h/stride⌉, ⌈w/stride⌉).

    Args:
        in_channels: number of channels of the input.
        channels: number of filters.
        size: side of a filter, in pixels, odd.
        stride: stride of the convolution, in pixels.
        norm: constructor of a normalization layer, called with the number of channels; None for biases instead.

    Raises:
        ValueError: if the size is even, so that no padding keeps the size of the map.
    """
    if size % 2 != 1:
        raise ValueError(f"filters of {size}×{size} cannot keep the size of a map: pass an odd size, such as 3 or 5.")
    parts = OrderedDict[str, nn.Module]()
    parts["conv"] = nn.Conv2d(in_channels, channels, size, stride, padding=size // 2, bias=norm is None)
    if norm is not None:
        parts["norm"] = norm(channels)
    parts["relu"] = nn.ReLU()
    return nn.Sequential(parts)


class Parallel(nn.ModuleDict):
    """y = [B₁(x), …, Bₙ(x)]: branches on the same map, concatenated along the channels in the order given.

    Args:
        branches: modules by name, each (batch, ·, h, w) → (batch, cᵢ, h, w).
        channels: number of channels of y, Σcᵢ.
    """

    @checked
    def __init__(self, branches: Mapping[str, nn.Module], channels: int) -> None:
        super().__init__(branches)
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Return y: (batch, in_channels, h, w) → (batch, channels, h, w)."""
        return torch.cat([branch(x) for branch in self.values()], dim=1)


class NaiveInception(Parallel):
    """y = [conv₁ₓ₁(x), conv₃ₓ₃(x), conv₅ₓ₅(x), maxpool₃ₓ₃(x)]: each filter acts on all channels (figure 2a).

    This is for comparison: the output has in_channels + ones + threes + fives channels, so that in a chain of such
    modules the number of channels grows without bound.

    Args:
        in_channels: number of channels of x, which is also that of the pooling branch's output.
        ones: number of 1×1 filters.
        threes: number of 3×3 filters.
        fives: number of 5×5 filters.
        norm: constructor of a normalization layer, called with the number of channels; None for biases instead.
        largest: odd side of the filters in the 5×5 branch.

    Raises:
        ValueError: if a number of channels is not a positive integer, or `largest` is even.

    >>> NaiveInception(256, 128, 192, 96).channels
    672
    """

    @checked
    def __init__(
        self, in_channels: int, ones: int, threes: int, fives: int, *, norm: Norm | None = None, largest: int = 5
    ) -> None:
        branches = {
            "ones": convolution(in_channels, ones, 1, norm=norm),
            "threes": convolution(in_channels, threes, 3, norm=norm),
            "fives": convolution(in_channels, fives, largest, norm=norm),
            "pooled": nn.MaxPool2d(3, 1, padding=1),
        }
        super().__init__(branches, ones + threes + fives + in_channels)

    @classmethod
    @checked
    def of_widths(
        cls, in_channels: int, widths: InceptionWidths, *, norm: Norm | None = None, largest: int = 5
    ) -> NaiveInception:
        """Build the module that replaces `Inception(in_channels, widths)` by the same filters without bottlenecks."""
        return cls(in_channels, widths.ones, widths.threes, widths.fives, norm=norm, largest=largest)


class Inception(Parallel):
    """y = [c₁(x), c₃(c₁(x)), c₅(c₁(x)), c₁(maxpool₃ₓ₃(x))] with cₖ = relu ∘ norm ∘ convₖₓₖ (figure 2b).

    Args:
        in_channels: number of channels of x.
        widths: numbers of channels of the four branches and their bottlenecks.
        norm: constructor of a normalization layer, called with the number of channels; None for biases instead.
        largest: odd side of the filters in the 5×5 branch: 5 in the paper, 3 in torchvision.

    Raises:
        ValueError: if a number of channels is not a positive integer, or `largest` is even.

    >>> Inception(192, InceptionWidths(64, 96, 128, 16, 32, 32)).channels
    256
    """

    @checked
    def __init__(
        self, in_channels: int, widths: InceptionWidths, *, norm: Norm | None = None, largest: int = 5
    ) -> None:
        counts = (checked_value(name, count, int) for name, count in widths._asdict().items())
        ones, reduced_threes, threes, reduced_fives, fives, pooled = counts
        branches = {
            "ones": convolution(in_channels, ones, 1, norm=norm),
            "threes": _reduced(in_channels, reduced_threes, threes, 3, norm),
            "fives": _reduced(in_channels, reduced_fives, fives, largest, norm),
            "pooled": _pooled(in_channels, pooled, norm),
        }
        super().__init__(branches, ones + threes + fives + pooled)


def _reduced(in_channels: int, reduced: int, channels: int, size: int, norm: Norm | None) -> nn.Sequential:
    reduce = convolution(in_channels, reduced, 1, norm=norm)
    return nn.Sequential(OrderedDict(reduce=reduce, filter=convolution(reduced, channels, size, norm=norm)))


def _pooled(in_channels: int, channels: int, norm: Norm | None) -> nn.Sequential:
    pool = nn.MaxPool2d(3, 1, padding=1)
    return nn.Sequential(OrderedDict(pool=pool, project=convolution(in_channels, channels, 1, norm=norm)))
