"""Templates: pictures of single objects, in which each cell has a part of the object and a shade."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

OUTSIDE = -(2**30)
"""Packed value of an empty cell: less than every sum of another packed value and a layer's offset."""


@dataclass(frozen=True, eq=False, repr=False)
class Templates:
    """Templates of n objects on grids of S×S cells, from which scenes are composed.

    Attributes:
        parts: Number of the part that each cell shows, from 1, or 0 outside of the object: uint8, (n, S, S). A part has
            one colour in a scene.
        shades: Shade of each cell, from 0 (the dark end of the colour) to 255 (the light end): uint8, (n, S, S).
        classes: Class of each template, ascending, 0, …, K - 1, or -1 for clutter, which has no class: int64, (n,).
        names: Names of the K classes.
        palette: Palette of m colours, in 0, …, 255, for each part of clutter and of the classes: float32,
            (1 + K, P, m, 3).
        spread: Largest difference, in each channel, between a colour in a scene and the palette.
        contrast: Bounds of the contrast c, drawn for every part: a cell of shade s has the part's colour times
            (1 - c + c·s/255).

    Raises:
        ValueError: if shapes do not match, an object covers no cell, or the classes are not in order.
    """

    parts: Tensor
    shades: Tensor
    classes: Tensor
    names: tuple[str, ...]
    palette: Tensor
    spread: float
    contrast: tuple[float, float]

    def __post_init__(self) -> None:
        if self.parts.ndim != 3 or self.parts.shape != self.shades.shape or len(self.classes) != len(self.parts):
            raise ValueError(
                f"parts of shape {tuple(self.parts.shape)}, shades of {tuple(self.shades.shape)} and "
                f"{len(self.classes)} classes do not make templates: each cell has a part and a shade, each template a "
                "class; give (n, S, S), (n, S, S) and (n,)."
            )
        if not bool(self.areas.all()):
            empty = int((self.areas == 0).nonzero()[0])
            raise ValueError(f"template {empty} is empty: all its parts are 0, so it shows nothing; leave it out.")
        steps = self.classes.diff()
        if bool((steps < 0).any()) or {*self.classes.tolist()} - {-1} != {*range(len(self.names))}:
            raise ValueError(
                f"classes {self.classes.unique_consecutive().tolist()} do not match the names {self.names}: templates "
                "of a class are consecutive; sort them, and give at least one template to every class from 0 to "
                f"{len(self.names) - 1}."
            )

    def __len__(self) -> int:
        return len(self.parts)

    def __repr__(self) -> str:
        return f"Templates({len(self)} of {', '.join(self.names)})"

    @property
    def side(self) -> int:
        """Number of cells S along an edge."""
        return self.parts.shape[-1]

    @cached_property
    def part_count(self) -> int:
        """Number of parts P: the highest number of a part."""
        return int(self.parts.max())

    @cached_property
    def areas(self) -> Tensor:
        """Share of the grid that each object covers: float32, (n,)."""
        return (self.parts > 0).float().mean((1, 2))

    @cached_property
    def anchors(self) -> Tensor:
        """Cell (column, row) of each object that is nearest to the middle of its grid: int64, (n, 2)."""
        from_middle = (torch.arange(self.side, device=self.parts.device) - (self.side - 1) / 2) ** 2
        distance = from_middle[:, None] + from_middle[None, :]
        cell = torch.where(self.parts > 0, distance, torch.inf).flatten(1).argmin(1)
        return torch.stack([cell % self.side, cell // self.side], dim=1)

    @cached_property
    def runs(self) -> tuple[Tensor, Tensor]:
        """First template and number of templates of clutter and of each class: int64, (1 + K,) each."""
        sizes = (self.classes + 1).bincount(minlength=1 + len(self.names))
        return sizes.cumsum(0) - sizes, sizes

    @cached_property
    def packed(self) -> Tensor:
        """Values 256·(part - 1) + shade in the cells of an object, `OUTSIDE` elsewhere and in a border around the grid.

        int32, (n·(S + 2)²,): coordinates outside of a grid are clamped to its border.
        """
        values = 256 * (self.parts.int() - 1) + self.shades.int()
        cells = torch.where(self.parts > 0, values, OUTSIDE)
        return torch.nn.functional.pad(cells, [1, 1, 1, 1], value=OUTSIDE).flatten()

    def to(self, device: torch.device | str) -> Templates:
        """Return the templates on `device`; `self` if they are there already."""
        device = torch.device(device)
        if self.parts.device == device:
            return self
        tensors = {name: getattr(self, name).to(device) for name in ("parts", "shades", "classes", "palette")}
        return replace(self, **tensors)

    def with_clutter(self, clutter: Templates) -> Templates:
        """Replace the clutter by that of other templates, resampled to this grid by the nearest cell."""
        nearest = (clutter.side * (2 * torch.arange(self.side) + 1)) // (2 * self.side)
        own, other = self.classes >= 0, clutter.classes < 0
        return replace(
            self,
            parts=torch.cat([clutter.parts[other][:, nearest][:, :, nearest], self.parts[own]]),
            shades=torch.cat([clutter.shades[other][:, nearest][:, :, nearest], self.shades[own]]),
            classes=torch.cat([clutter.classes[other], self.classes[own]]),
        )
