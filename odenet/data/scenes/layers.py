"""Layers of scenes: the template, position, pose and colours of each layer, computed from numbers in [0, 1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from odenet.data.scenes.palettes import GROUNDS, SPREAD
from odenet.data.scenes.templates import Templates

NUMBERS_OF_GROUND = 34
"""Number of uniform random numbers that a ground needs."""


def numbers_of_layer(templates: Templates) -> int:
    """Return how many uniform random numbers a layer needs: nine for its place and pose, and five for each part."""
    return 9 + 5 * templates.part_count


@dataclass(frozen=True)
class Colours:
    """Ranges of shades between a dark and a light colour: float32, (…, 3) each, red, green and blue in 0, …, 255."""

    dark: Tensor
    light: Tensor


@dataclass(frozen=True)
class Layers:
    """Layers of n scenes, L templates in each: pixel p shows the cell at M·(p - centre) from the template's anchor.

    Attributes:
        template: Number of the template: int64, (n, L).
        present: Whether the scene has the layer: bool, (n, L).
        centre: Pixel (column, row) on which the centre of the anchor's cell lies: float32, (n, L, 2).
        matrix: Matrix M, in cells per pixel: float32, (n, L, 2, 2).
        colours: Colours of each part: (n, L, P, 3).
    """

    template: Tensor
    present: Tensor
    centre: Tensor
    matrix: Tensor
    colours: Colours


def place_layers(u: Tensor, is_object: Tensor, present: Tensor, templates: Templates, size: tuple[int, int]) -> Layers:
    """Draw templates and place them at random.

    Classes are equally frequent, and so are the templates of each class. Objects differ in size (0.45 to 0.85 of the
    shorter side of the image; more if they cover little of their grid, as a toothbrush does, less if they cover much)
    and are mirrored, stretched (by up to 1.2), sheared and rotated (by up to 14 degrees). The anchor lies on a pixel,
    so that at least one pixel shows the object, however small the image is.

    Args:
        u: Random numbers, uniform in [0, 1): (n, L, `numbers_of_layer`).
        is_object: Which layers are objects; the others are clutter: bool, (L,).
        present: Which layers each scene has: bool, (n, L).
        templates: Templates to draw from.
        size: Size (H, W) of the image, in pixels.
    """
    choice, variant, across, down, growth, mirror, stretch, shear, tilt = u[..., :9].unbind(-1)
    first, count = templates.runs
    run = torch.where(is_object, 1 + (len(templates.names) * choice).long(), 0)
    template = first[run] + (count[run] * variant).long()

    height, width = size
    centre = torch.stack([(width * (0.12 + 0.76 * across)).floor(), (height * (0.12 + 0.76 * down)).floor()], dim=-1)
    enlarged = (0.25 / templates.areas[template]).sqrt().clamp(0.75, 1.6)
    span = min(height, width) * (0.45 + 0.4 * growth) * enlarged
    matrix = templates.side / span[..., None, None] * _pose(mirror, stretch, shear, tilt)

    u_of_parts = u[..., 9:].unflatten(-1, (templates.part_count, 5))
    colours = _colours(u_of_parts, templates.palette[run], templates.spread, templates.contrast)
    return Layers(template, present, centre, matrix, colours)


@dataclass(frozen=True)
class Ground:
    """Two textures that meet at a horizon, and the light on the scene.

    Attributes:
        texture: Numbers of the two textures: int64, (n, 2).
        origin: Cell (column, row) of each texture at pixel (0, 0): float32, (n, 2, 2).
        matrix: Matrix from pixels to cells: float32, (n, 2, 2, 2).
        colours: Colours of the two textures: (n, 2, 3).
        horizon: Coefficients (a, b, c): a pixel at the fractions (x, y) of width and height shows the second texture
            where a·x + b·y > c: float32, (n, 3).
        light: Gradient (g, h) of the brightness, which is 1 + g·(x - 1/2) + h·(y - 1/2): float32, (n, 2).
        grain: Amplitude of the grain, in 0, …, 255, and the column and row at which its tile begins: float32, (n, 3).
    """

    texture: Tensor
    origin: Tensor
    matrix: Tensor
    colours: Colours
    horizon: Tensor
    light: Tensor
    grain: Tensor


def place_ground(u: Tensor, textures: int, side: int, size: tuple[int, int]) -> Ground:
    """Draw a ground at random, in half of the scenes without a horizon.

    Args:
        u: Random numbers, uniform in [0, 1): (n, `NUMBERS_OF_GROUND`).
        textures: Number of textures to draw from.
        side: Period of a texture: cells along its edge.
        size: Size (H, W) of the image, in pixels.
    """
    chance, level, slope, g, h, amplitude, column, row = u[:, :8].unbind(-1)
    choice, growth, left, top, mirror, stretch, shear, tilt = u[:, 8:24].unflatten(1, (2, 8)).unbind(-1)
    # The shorter side of the image spans a quarter of a period to one and a half periods.
    cells = side * (0.25 + 1.25 * growth**2) / min(size)
    palette = _grounds(u.device).expand(len(u), 2, -1, -1)
    return Ground(
        texture=(textures * choice).long(),
        origin=side * torch.stack([left, top], dim=-1),
        matrix=cells[..., None, None] * _pose(mirror, stretch, shear, 5 * tilt - 2),
        colours=_colours(u[:, 24:].unflatten(1, (2, 5)), palette, SPREAD, (0.05, 0.4)),
        horizon=torch.stack([0.5 * slope - 0.25, torch.ones_like(slope), torch.where(chance < 0.5, 2, level)], dim=-1),
        light=0.5 * torch.stack([g, h], dim=-1) - 0.25,
        grain=torch.stack([20 * amplitude**2, (side * column).floor(), (side * row).floor()], dim=-1),
    )


@lru_cache(maxsize=2)
def _grounds(device: torch.device) -> Tensor:
    """The colours of grounds, copied to the device once: a copy of a Python list makes the host wait."""
    return torch.tensor(GROUNDS, dtype=torch.float32, device=device)


def _colours(u: Tensor, palette: Tensor, spread: float, contrast: tuple[float, float]) -> Colours:
    """Choose one of m colours, shift it by up to `spread`, and darken it: (…, 3) from (…, 5) and (…, m, 3)."""
    option = (palette.shape[-2] * u[..., 0]).long()
    chosen = palette.gather(-2, option[..., None, None].expand(*option.shape, 1, 3)).squeeze(-2)
    light = (chosen + spread * (2 * u[..., 2:] - 1)).clamp(0, 255)
    least, most = contrast
    return Colours(light * (1 - least - (most - least) * u[..., 1, None]), light)


def _pose(mirror: Tensor, stretch: Tensor, shear: Tensor, tilt: Tensor) -> Tensor:
    """Return the matrix that mirrors, stretches, shears and rotates: (…, 2, 2), with determinant 1 or -1.

    The angle θ has tan(θ/2) = 0.12·(2·tilt - 1), so that only the four arithmetic operations are needed, which give the
    same bits on every machine.
    """
    sign = torch.where(mirror < 0.5, -1.0, 1.0)
    wide = 0.85 + 0.33 * stretch
    tangent = 0.24 * tilt - 0.12
    cosine, sine = (1 - tangent**2) / (1 + tangent**2), 2 * tangent / (1 + tangent**2)
    slant = 0.3 * shear - 0.15
    upper = torch.stack([sign * wide * (cosine - slant * sine), sign * wide * (sine + slant * cosine)], dim=-1)
    lower = torch.stack([-sine / wide, cosine / wide], dim=-1)
    return torch.stack([upper, lower], dim=-2)
