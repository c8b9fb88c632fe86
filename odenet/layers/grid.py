"""Grids: where in the image the pixels of a map lie, through convolutions and poolings of any size, stride, padding."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from odenet.layers.inception import Parallel

POINTWISE = (nn.Identity, nn.ReLU, nn.Dropout, nn.Dropout2d, nn.BatchNorm2d, nn.GroupNorm, nn.LocalResponseNorm)
"""What leaves every pixel where it is."""


@dataclass(frozen=True)
class Grid:
    """Pixel i of a map looks at the image around the coordinate centre + stride·i; the same along both axes.

    Coordinates count pixels of the image from 0; between two pixels they end in ½. Without padding around the image a
    map of n pixels needs stride·(n - 1) + 2·centre + 1 of it.

    Attributes:
        stride: pixels of the image for one of the map.
        centre: of the first pixel of the map, a multiple of ½.

    >>> Grid().then(7, stride=2, padding=3).then(3, stride=2)  # the first layers of GoogLeNet
    Grid(stride=4, centre=2.0)
    """

    stride: int = 1
    centre: float = 0.0

    def then(self, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Grid:
        """The grid after a convolution or pooling on this one; a pooling that rounds up has no other centres."""
        return Grid(self.stride * stride, self.centre + self.stride * (dilation * (kernel - 1) / 2 - padding))

    def moved(self, pixels: int) -> Grid:
        """The same map `pixels` of its own pixels further on: what is left when so many are cut off in front."""
        return Grid(self.stride, self.centre + self.stride * pixels)

    def through(self, module: nn.Module) -> Grid:
        """The grid after `module`: a convolution, a pooling, what leaves pixels in their place, a chain of such.

        Raises:
            TypeError: another module.
        """
        if isinstance(module, nn.Sequential):
            grid = self
            for part in module:
                grid = grid.through(part)
            return grid
        if isinstance(module, Parallel):  # its branches are concatenated, so they share a grid
            return self.through(next(iter(module.values())))
        if isinstance(module, POINTWISE):
            return self
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            return self.then(*(_side(n) for n in (module.kernel_size, module.stride, module.padding, module.dilation)))
        if isinstance(module, nn.AvgPool2d):
            return self.then(*(_side(n) for n in (module.kernel_size, module.stride, module.padding)))
        raise TypeError(
            f"a grid was to be followed through {type(module).__name__}; only convolutions, poolings and pixel-wise "
            "layers, in chains and side by side, say where they look: give the grid after it by hand, with Grid.then."
        )


def _side(pair: int | tuple[int, ...] | str) -> int:
    """The one number of a square layer."""
    sides = {pair} if isinstance(pair, int | str) else set(pair)
    if len(sides) != 1 or not isinstance(side := sides.pop(), int):
        raise TypeError(
            f"a layer with sides {pair!r} has no one grid for both axes: use square layers, and padding in pixels."
        )
    return side
