"""Grids: positions in the image of the pixels of a map, after convolutions and poolings of any stride and padding."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from torch import nn

from odenet.layers.inception import Parallel

POINTWISE = (nn.Identity, nn.ReLU, nn.Dropout, nn.Dropout2d, nn.BatchNorm2d, nn.GroupNorm, nn.LocalResponseNorm)
"""Layers that keep the position of every pixel."""


@dataclass(frozen=True)
class Grid:
    """Positions of the pixels of a map in the image: pixel i is centred at centre + stride·i, along both axes.

    Coordinates count pixels of the image from 0; half-integers lie between two pixels. Without padding of the image a
    map of n pixels needs an image of stride·(n - 1) + 2·centre + 1 pixels.

    Attributes:
        stride: distance of neighbouring pixels of the map, in pixels of the image.
        centre: coordinate of the first pixel of the map, a multiple of ½.

    >>> Grid().then(7, stride=2, padding=3).then(3, stride=2)  # the first layers of GoogLeNet
    Grid(stride=4, centre=2.0)
    """

    stride: int = 1
    centre: float = 0.0

    def then(self, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Grid:
        """Return the grid after a convolution or pooling on this one; `ceil_mode` does not change it."""
        return Grid(self.stride * stride, self.centre + self.stride * (dilation * (kernel - 1) / 2 - padding))

    def moved(self, pixels: int) -> Grid:
        """Return the grid of the map without its first `pixels` pixels."""
        return Grid(self.stride, self.centre + self.stride * pixels)

    def through(self, module: nn.Module) -> Grid:
        """Return the grid after `module`: a convolution, a pooling, a pixel-wise layer, or a chain of these.

        Raises:
            TypeError: if the module is of another class.
        """
        if isinstance(module, nn.Sequential):
            grid = self
            for part in module:
                grid = grid.through(part)
            return grid
        if isinstance(module, Parallel):  # its branches are concatenated, so they have the same grid
            return self.through(next(iter(module.values())))
        if isinstance(module, POINTWISE) or _is_frozen_norm(module):
            return self
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            return self.then(*(_side(n) for n in (module.kernel_size, module.stride, module.padding, module.dilation)))
        if isinstance(module, nn.AvgPool2d):
            return self.then(*(_side(n) for n in (module.kernel_size, module.stride, module.padding)))
        raise TypeError(
            f"the grid after {type(module).__name__} was asked for; it is known only for convolutions, poolings and "
            "pixel-wise layers, in chains and side by side: compute the grid after it with Grid.then."
        )


def _is_frozen_norm(module: nn.Module) -> bool:
    """Whether `module` is torchvision's FrozenBatchNorm2d; there is none before torchvision has been imported."""
    torchvision = sys.modules.get("torchvision.ops.misc")
    return torchvision is not None and isinstance(module, torchvision.FrozenBatchNorm2d)


def _side(pair: int | tuple[int, ...] | str) -> int:
    """Return the common value of a setting along both axes."""
    sides = {pair} if isinstance(pair, int | str) else set(pair)
    if len(sides) != 1 or not isinstance(side := sides.pop(), int):
        raise TypeError(
            f"a layer has sides {pair!r}; a grid is the same along both axes: use square layers, and padding in pixels."
        )
    return side
