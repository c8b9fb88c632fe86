"""Strokes and polygons as sets of cells of a square grid, for many drawings at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Number = float | Tensor
"""One number for all drawings, or one for each, (n,)."""

Point = tuple[Number, Number]
"""Coordinates (x, y), x to the right and y downwards; the grid covers [-1, 1]²."""


class Canvas:
    """A grid of side × side cells that covers [-1, 1]², with the sets of cells inside shapes, for n drawings at once.

    Args:
        count: Number n of drawings.
        side: Number of cells along an edge.
    """

    def __init__(self, count: int, side: int) -> None:
        centres = (2 * torch.arange(side) + 1) / side - 1
        self.count = count
        self.x, self.y = centres[None, None, :], centres[None, :, None]

    def stroke(self, points: Sequence[Point], radii: Sequence[Number]) -> Tensor:
        """Draw a pen along `points`, with a radius linear from each of `radii` to the next: bool, (n, side, side)."""
        pieces = zip(points, points[1:], radii, radii[1:], strict=False)
        return self.union(*(self._tapered(*piece) for piece in pieces))

    def disc(self, centre: Point, radius: Number) -> Tensor:
        """Return the cells within `radius` of `centre`: bool, (n, side, side)."""
        return self._tapered(centre, centre, radius, radius)

    def polygon(self, *corners: Point) -> Tensor:
        """Return the cells in the convex polygon with these corners, clockwise on the image: bool, (n, side, side)."""
        inside = torch.ones(self.count, self.x.shape[-1], self.x.shape[-1], dtype=torch.bool)
        for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
            ax, ay, bx, by = (self._each(number) for number in (ax, ay, bx, by))
            inside &= (bx - ax) * (self.y - ay) - (by - ay) * (self.x - ax) >= 0
        return inside

    def box(self, left: Number, top: Number, right: Number, bottom: Number) -> Tensor:
        """Return the cells in the rectangle with these sides: bool, (n, side, side)."""
        return self.polygon((left, top), (right, top), (right, bottom), (left, bottom))

    def union(self, *sets: Tensor) -> Tensor:
        """Return the union of sets of cells: bool, (n, side, side)."""
        return torch.stack(sets).any(0)

    def _tapered(self, a: Point, b: Point, radius_a: Number, radius_b: Number) -> Tensor:
        (ax, ay), (bx, by) = ((self._each(x), self._each(y)) for x, y in (a, b))
        along_x, along_y = bx - ax, by - ay
        length = (along_x**2 + along_y**2).clamp(min=1e-12)
        s = (((self.x - ax) * along_x + (self.y - ay) * along_y) / length).clamp(0, 1)
        radius = self._each(radius_a) * (1 - s) + self._each(radius_b) * s
        return (self.x - ax - s * along_x) ** 2 + (self.y - ay - s * along_y) ** 2 <= radius**2

    def _each(self, number: Number) -> Tensor:
        return torch.as_tensor(number, dtype=torch.float32).expand(self.count).view(-1, 1, 1)
