"""Templates: pictures of single objects, each cell with the part of the object that it shows and a shade."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

OUTSIDE = -(2**30)
"""The packed value of a cell that shows nothing: below every sum of a packed value and a layer's offset."""


@dataclass(frozen=True, eq=False, repr=False)
class Templates:
    """n objects on grids of S×S cells, from which scenes are composed.

    Attributes:
        parts: uint8, (n, S, S): 0 where the object is not, else the number of the part that is seen, from 1. A part has
            one colour in a scene.
        shades: uint8, (n, S, S): from 0, the dark end of that colour, to 255, the light one.
        classes: int64, (n,), ascending: 0, …, K - 1, or -1 for clutter, which belongs to none.
        names: Of the K classes.
        palette: float32, (1 + K, P, m, 3): m colours, in 0, …, 255, for each part of clutter and of the classes.
        spread: How far a colour in a scene may be from one of the palette, in each channel.
        contrast: Bounds of c, drawn for every part: at shade s it has (1 - c + c·s/255) of its colour.

    Raises:
        ValueError: Shapes do not match, an object is nowhere on its grid, or the classes are not in order.
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
                f"{len(self.classes)} classes cannot be templates: each cell has a part and a shade, each template a "
                "class; give (n, S, S), (n, S, S) and (n,)."
            )
        if not bool(self.areas.all()):
            empty = int((self.areas == 0).nonzero()[0])
            raise ValueError(f"template {empty} cannot be drawn: all its parts are 0, it shows nothing; leave it out.")
        steps = self.classes.diff()
        if bool((steps < 0).any()) or {*self.classes.tolist()} - {-1} != {*range(len(self.names))}:
            raise ValueError(
                f"classes {self.classes.unique_consecutive().tolist()} cannot be those of {self.names}: a class is a "
                f"consecutive run of templates; sort them, and give every class from 0 to {len(self.names) - 1} some."
            )

    def __len__(self) -> int:
        return len(self.parts)

    def __repr__(self) -> str:
        return f"Templates({len(self)} of {', '.join(self.names)})"

    @property
    def side(self) -> int:
        """S."""
        return self.parts.shape[-1]

    @cached_property
    def part_count(self) -> int:
        """P, the highest number of a part."""
        return int(self.parts.max())

    @cached_property
    def areas(self) -> Tensor:
        """The share of the grid that each object covers: float32, (n,)."""
        return (self.parts > 0).float().mean((1, 2))

    @cached_property
    def anchors(self) -> Tensor:
        """The cell of each object that is nearest to the middle of its grid: int64, (n, 2), column and row."""
        from_middle = (torch.arange(self.side, device=self.parts.device) - (self.side - 1) / 2) ** 2
        distance = from_middle[:, None] + from_middle[None, :]
        cell = torch.where(self.parts > 0, distance, torch.inf).flatten(1).argmin(1)
        return torch.stack([cell % self.side, cell // self.side], dim=1)

    @cached_property
    def runs(self) -> tuple[Tensor, Tensor]:
        """The first template and the number of templates of clutter and of each class: int64, (1 + K,) each."""
        sizes = (self.classes + 1).bincount(minlength=1 + len(self.names))
        return sizes.cumsum(0) - sizes, sizes

    @cached_property
    def packed(self) -> Tensor:
        """256·(part - 1) + shade in the cells of an object, `OUTSIDE` in the others and in a border around the grid.

        int32, (n·(S + 2)²,): what is outside of a grid is found on its border.
        """
        values = 256 * (self.parts.int() - 1) + self.shades.int()
        cells = torch.where(self.parts > 0, values, OUTSIDE)
        return torch.nn.functional.pad(cells, [1, 1, 1, 1], value=OUTSIDE).flatten()

    def to(self, device: torch.device | str) -> Templates:
        """The same templates on `device`; these if they are there already."""
        device = torch.device(device)
        if self.parts.device == device:
            return self
        tensors = {name: getattr(self, name).to(device) for name in ("parts", "shades", "classes", "palette")}
        return replace(self, **tensors)

    def with_clutter(self, clutter: Templates) -> Templates:
        """These and the clutter of others, brought to their grid by the nearest cell, in place of any of their own."""
        theirs = (clutter.side * (2 * torch.arange(self.side) + 1)) // (2 * self.side)
        own, other = self.classes >= 0, clutter.classes < 0
        return replace(
            self,
            parts=torch.cat([clutter.parts[other][:, theirs][:, :, theirs], self.parts[own]]),
            shades=torch.cat([clutter.shades[other][:, theirs][:, :, theirs], self.shades[own]]),
            classes=torch.cat([clutter.classes[other], self.classes[own]]),
        )
