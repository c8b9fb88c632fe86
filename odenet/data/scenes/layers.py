"""Layers of scenes: which template lies where, how it is turned, and in which colours, from numbers in [0, 1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from odenet.data.scenes.palettes import GROUNDS, SPREAD
from odenet.data.scenes.templates import Templates

NUMBERS_OF_GROUND = 34
"""How many uniform numbers a ground takes."""


def numbers_of_layer(templates: Templates) -> int:
    """How many uniform numbers a layer takes: nine for its place, and five for each part."""
    return 9 + 5 * templates.part_count


@dataclass(frozen=True)
class Colours:
    """Shades between a dark and a light colour: float32, (…, 3) each, red, green and blue in 0, …, 255."""

    dark: Tensor
    light: Tensor


@dataclass(frozen=True)
class Layers:
    """L templates in each of n scenes: the pixel p shows the cell at M·(p - centre) from the template's anchor.

    Attributes:
        template: int64, (n, L).
        present: Whether the scene has the layer: bool, (n, L).
        centre: The pixel (column, row) on which the middle of the anchor's cell lies: float32, (n, L, 2).
        matrix: M, in cells a pixel: float32, (n, L, 2, 2).
        colours: Of each part: (n, L, P, 3).
    """

    template: Tensor
    present: Tensor
    centre: Tensor
    matrix: Tensor
    colours: Colours


def place_layers(u: Tensor, is_object: Tensor, present: Tensor, templates: Templates, size: tuple[int, int]) -> Layers:
    """Templates drawn and placed at random.

    Classes are equally frequent, and so are the templates of each. Objects differ in size (0.45 to 0.85 of the
    shorter side of the image, more if they cover little of their grid, as a toothbrush does, and less if much), are
    mirrored, stretched (by up to 1.2), sheared and turned (by up to 14 degrees). The anchor lies on a pixel, so that
    one pixel at least shows the object, however few there are.

    Args:
        u: Uniform in [0, 1): (n, L, `numbers_of_layer`).
        is_object: Which layers are objects, the others clutter: bool, (L,).
        present: Handed on.
        templates: To draw from.
        size: (H, W), in pixels.
    """
    choice, variant, across, down, growth, mirror, stretch, shear, tilt = u[..., :9].unbind(-1)
    first, count = (numbers.to(u.device) for numbers in templates.runs)
    run = torch.where(is_object, 1 + (len(templates.names) * choice).long(), 0)
    template = first[run] + (count[run] * variant).long()

    height, width = size
    centre = torch.stack([(width * (0.12 + 0.76 * across)).floor(), (height * (0.12 + 0.76 * down)).floor()], dim=-1)
    enlarged = (0.25 / templates.areas[template]).sqrt().clamp(0.75, 1.6)
    span = min(height, width) * (0.45 + 0.4 * growth) * enlarged
    matrix = templates.side / span[..., None, None] * _pose(mirror, stretch, shear, tilt)

    of_parts = u[..., 9:].unflatten(-1, (templates.part_count, 5))
    colours = _colours(of_parts, templates.palette[run], templates.spread, templates.contrast)
    return Layers(template, present, centre, matrix, colours)


@dataclass(frozen=True)
class Ground:
    """Two textures that meet at a horizon, and the light on the scene.

    Attributes:
        texture: Which two: int64, (n, 2).
        origin: Cells of the texture at pixel (0, 0): float32, (n, 2, 2).
        matrix: Cells a pixel: float32, (n, 2, 2, 2).
        colours: (n, 2, 3).
        horizon: (a, b, c): a pixel at the shares (x, y) of width and height shows the second texture where
            a·x + b·y > c: float32, (n, 3).
        light: (g, h): brightness is 1 + g·(x - 1/2) + h·(y - 1/2): float32, (n, 2).
        grain: Amplitude, in 0, …, 255, then column and row at which the tile of grain begins: float32, (n, 3).
    """

    texture: Tensor
    origin: Tensor
    matrix: Tensor
    colours: Colours
    horizon: Tensor
    light: Tensor
    grain: Tensor


def place_ground(u: Tensor, textures: int, side: int, size: tuple[int, int]) -> Ground:
    """A ground drawn at random; every second one has no horizon.

    Args:
        u: Uniform in [0, 1): (n, `NUMBERS_OF_GROUND`).
        textures: How many there are to draw from.
        side: Cells along the edge of a texture, a period.
        size: (H, W), in pixels.
    """
    there, level, slope, g, h, amplitude, column, row = u[:, :8].unbind(-1)
    choice, growth, left, top, mirror, stretch, shear, tilt = u[:, 8:24].unflatten(1, (2, 8)).unbind(-1)
    # From a quarter of a period to one and a half along the shorter side of the image.
    cells = side * (0.25 + 1.25 * growth**2) / min(size)
    palette = torch.tensor(GROUNDS, dtype=torch.float32, device=u.device).expand(len(u), 2, -1, -1)
    return Ground(
        texture=(textures * choice).long(),
        origin=side * torch.stack([left, top], dim=-1),
        matrix=cells[..., None, None] * _pose(mirror, stretch, shear, 5 * tilt - 2),
        colours=_colours(u[:, 24:].unflatten(1, (2, 5)), palette, SPREAD, (0.05, 0.4)),
        horizon=torch.stack([0.5 * slope - 0.25, torch.ones_like(slope), torch.where(there < 0.5, 2, level)], dim=-1),
        light=0.5 * torch.stack([g, h], dim=-1) - 0.25,
        grain=torch.stack([20 * amplitude**2, (side * column).floor(), (side * row).floor()], dim=-1),
    )


def _colours(u: Tensor, palette: Tensor, spread: float, contrast: tuple[float, float]) -> Colours:
    """One of m colours, moved by up to `spread`, and its dark shade: (…, 3) from (…, 5) and (…, m, 3)."""
    option = (palette.shape[-2] * u[..., 0]).long()
    chosen = palette.gather(-2, option[..., None, None].expand(*option.shape, 1, 3)).squeeze(-2)
    light = (chosen + spread * (2 * u[..., 2:] - 1)).clamp(0, 255)
    least, most = contrast
    return Colours(light * (1 - least - (most - least) * u[..., 1, None]), light)


def _pose(mirror: Tensor, stretch: Tensor, shear: Tensor, tilt: Tensor) -> Tensor:
    """Mirrored or not, stretched, sheared and turned: (…, 2, 2), of determinant 1 or -1.

    The turn is that of tan(θ/2) = 0.12·(2·tilt - 1): only the four operations, which give the same bits everywhere.
    """
    sign = torch.where(mirror < 0.5, -1.0, 1.0)
    wide = 0.85 + 0.33 * stretch
    tangent = 0.24 * tilt - 0.12
    cosine, sine = (1 - tangent**2) / (1 + tangent**2), 2 * tangent / (1 + tangent**2)
    slant = 0.3 * shear - 0.15
    upper = torch.stack([sign * wide * (cosine - slant * sine), sign * wide * (sine + slant * cosine)], dim=-1)
    lower = torch.stack([-sine / wide, cosine / wide], dim=-1)
    return torch.stack([upper, lower], dim=-2)
