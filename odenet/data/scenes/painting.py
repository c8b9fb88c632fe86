"""Painting of scenes: first the code of the front-most layer at every pixel, then the image."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from odenet.data.scenes.layers import Colours, Ground, Layers
from odenet.data.scenes.templates import OUTSIDE, Templates
from odenet.data.scenes.textures import texture_tiles
from odenet.data.seeds import seeded_generator

TEXTURES = 140
"""Number of textures from which a ground is drawn."""

PERIOD = 64
"""Cells along the edge of a texture: a power of two, so that a bit mask gives the place on the torus."""

# The value of a pixel is 256·code + shade. Codes grow towards the front (0 and 1 are the ground's two textures, and
# 2 + l·P + part - 1 is a part of layer l), so that the front-most layer is a maximum. Pixels are computed by single
# additions, multiplications, comparisons and look-ups, whose results do not depend on the batch or the device.


def paint_codes(ground: Ground, layers: Layers, templates: Templates, size: tuple[int, int]) -> Tensor:
    """Compute 256·code + shade of the front-most layer at every pixel: int32, (n, H, W)."""
    seen = _ground(ground, size)
    x, y = _pixel_coordinates(size, seen.device)
    edge = templates.side + 2  # the border included
    anchors = templates.anchors + 1.5
    for k in range(layers.template.shape[1]):
        centre, template = layers.centre[:, k], layers.template[:, k]
        u, v = _affine(layers.matrix[:, k], x - centre[:, :1], y - centre[:, 1:], anchors[template])
        column, row = (place.clamp_(0, edge - 1).int() for place in (u, v))
        cell = row.mul_(edge).add_(column).add_(_over_pixels(template.int() * edge**2))
        value = _look_up(templates.packed, cell)
        code = torch.where(layers.present[:, k], 256 * (2 + k * templates.part_count), OUTSIDE)
        # The sum of two OUTSIDE values still fits in 32 bits.
        seen = torch.maximum(seen, value.add_(_over_pixels(code.int())))
    return seen


def paint_images(seen: Tensor, ground: Ground, layers: Layers) -> Tensor:
    """Compute the image: the colour of each code at its shade, times the light, plus grain: uint8, (n, 3, H, W)."""
    n, height, width = seen.shape
    dark = torch.cat([ground.colours.dark, layers.colours.dark.flatten(1, 2)], dim=1)
    light = torch.cat([ground.colours.light, layers.colours.light.flatten(1, 2)], dim=1)
    colours = Colours(dark.flatten(0, 1), light.flatten(0, 1))
    code = (seen >> 8) + _over_pixels(torch.arange(n, dtype=torch.int32, device=seen.device) * dark.shape[1])
    shade = (seen & 255) * (1 / 255)
    brightness, grain = _brightness(ground, (height, width)), _grain(ground, (height, width))
    images = torch.empty(n, 3, height, width, dtype=torch.uint8, device=seen.device)
    for channel in range(3):
        darkest = colours.dark[:, channel]
        base, range_ = (_look_up(table, code) for table in (darkest, colours.light[:, channel] - darkest))
        images[:, channel] = base.add_(range_.mul_(shade)).mul_(brightness).add_(grain).clamp_(0, 255)
    return images


def _ground(ground: Ground, size: tuple[int, int]) -> Tensor:
    """Compute 256·code + shade of the ground at every pixel: int32, (n, H, W)."""
    tiles = _tiles(ground.origin.device)
    x, y = _pixel_coordinates(size, tiles.device)
    values = []
    for k in range(2):
        column, row = (place.floor().int() for place in _affine(ground.matrix[:, k], x, y, ground.origin[:, k]))
        values.append(_look_up(tiles, _cell(column, row, ground.texture[:, k])))
    first, second = values
    a, b, c = ground.horizon.unbind(1)
    x, y = _relative_coordinates(size, tiles.device)
    beyond = (a[:, None] * x)[:, None, :] + (b[:, None] * y - c[:, None])[:, :, None] > 0
    return first + beyond * (second + 256 - first)


def _brightness(ground: Ground, size: tuple[int, int]) -> Tensor:
    x, y = _relative_coordinates(size, ground.light.device)
    g, h = ground.light.unbind(1)
    return (h[:, None] * (y - 0.5) + 1)[:, :, None] + (g[:, None] * (x - 0.5))[:, None, :]


def _grain(ground: Ground, size: tuple[int, int]) -> Tensor:
    """Return noise between ± amplitude: float32, (n, H, W)."""
    tiles = _tiles(ground.grain.device)
    amplitude, column, row = ground.grain.unbind(1)
    x, y = _pixel_coordinates(size, tiles.device)
    cell = _cell(
        (x + column[:, None]).int()[:, None, :],
        (y + row[:, None]).int()[:, :, None],
        torch.full((len(row),), TEXTURES, device=tiles.device),
    )
    return (_look_up(tiles, cell) * (2 / 255) - 1) * _over_pixels(amplitude)


@lru_cache(maxsize=2)
def _tiles(device: torch.device) -> Tensor:
    """Return the textures of the ground and, last, a tile of white noise: int32, ((TEXTURES + 1)·PERIOD²,)."""
    generator = seeded_generator(0, "ground")
    tiles = texture_tiles(TEXTURES, PERIOD, generator)
    grain = torch.randint(0, 256, (1, PERIOD, PERIOD), generator=generator, dtype=torch.uint8)
    return torch.cat([tiles, grain]).flatten().int().to(device)


def _cell(column: Tensor, row: Tensor, texture: Tensor) -> Tensor:
    """Return the index in `_tiles` of a texture's cell (column, row): int32, (n, H, W)."""
    return (row & (PERIOD - 1)) * PERIOD + (column & (PERIOD - 1)) + _over_pixels(texture.int() * PERIOD**2)


def _affine(matrix: Tensor, x: Tensor, y: Tensor, origin: Tensor) -> tuple[Tensor, Tensor]:
    """Compute M·(x, y) + origin on a grid: two of (n, H, W), from (n, 2, 2), (n or 1, W), (n or 1, H) and (n, 2)."""
    along_x = (matrix[:, :, 0, None] * x[:, None])[:, :, None, :]
    along_y = (matrix[:, :, 1, None] * y[:, None] + origin[:, :, None])[:, :, :, None]
    first, second = (along_y + along_x).unbind(1)
    return first, second


def _pixel_coordinates(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the column and row numbers of an image, (1, W) and (1, H)."""
    height, width = size
    return torch.arange(width, device=device)[None], torch.arange(height, device=device)[None]


def _relative_coordinates(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the centres of columns and rows as fractions of the width and the height."""
    (x, y), (height, width) = _pixel_coordinates(size, device), size
    return (x + 0.5) / width, (y + 0.5) / height


def _over_pixels(numbers: Tensor) -> Tensor:
    """Reshape (n,) → (n, 1, 1), to broadcast one number per image over its pixels."""
    return numbers[:, None, None]


def _look_up(table: Tensor, places: Tensor) -> Tensor:
    # index_select is several times faster than table[places] on a CPU.
    return table.index_select(0, places.flatten()).view(places.shape)
