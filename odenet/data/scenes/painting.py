"""Painting scenes: which code is seen in every pixel, front before back, and the image that follows."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from odenet.data.scenes.layers import Colours, Ground, Layers
from odenet.data.scenes.templates import OUTSIDE, Templates
from odenet.data.scenes.textures import texture_tiles
from odenet.data.seeds import seeded_generator

TEXTURES = 140
"""How many textures a ground is drawn from."""

PERIOD = 64
"""Cells along the edge of a texture: a power of two, so that a place on the torus is a mask of bits."""

# A value holds what is seen in a pixel as 256·code + shade. Codes grow towards the front (0 and 1 are the ground's two
# textures, 2 + l·P + part - 1 is layer l's), so that the front-most is a maximum. All that is done to pixels is single
# additions, multiplications, comparisons and look-ups: each has one right result, whatever the batch or the device.


def paint_codes(ground: Ground, layers: Layers, templates: Templates, size: tuple[int, int]) -> Tensor:
    """256·code + shade of what is seen in every pixel: int32, (n, H, W)."""
    seen = _ground(ground, size)
    x, y = _places(size, seen.device)
    edge = templates.side + 2  # with its border
    anchors = templates.anchors + 1.5
    for k in range(layers.template.shape[1]):
        centre, template = layers.centre[:, k], layers.template[:, k]
        u, v = _affine(layers.matrix[:, k], x - centre[:, :1], y - centre[:, 1:], anchors[template])
        column, row = (place.clamp_(0, edge - 1).int() for place in (u, v))
        cell = row.mul_(edge).add_(column).add_(_for_pixels(template.int() * edge**2))
        value = _look_up(templates.packed, cell)
        code = torch.where(layers.present[:, k], 256 * (2 + k * templates.part_count), OUTSIDE)
        # Added to itself, OUTSIDE still fits in 32 bits.
        seen = torch.maximum(seen, value.add_(_for_pixels(code.int())))
    return seen


def paint_images(seen: Tensor, ground: Ground, layers: Layers) -> Tensor:
    """The colour of each code at its shade, times the light, with grain: uint8, (n, 3, H, W)."""
    n, height, width = seen.shape
    dark = torch.cat([ground.colours.dark, layers.colours.dark.flatten(1, 2)], dim=1)
    light = torch.cat([ground.colours.light, layers.colours.light.flatten(1, 2)], dim=1)
    colours = Colours(dark.flatten(0, 1), light.flatten(0, 1))
    code = (seen >> 8) + _for_pixels(torch.arange(n, dtype=torch.int32, device=seen.device) * dark.shape[1])
    shade = (seen & 255) * (1 / 255)
    brightness, grain = _brightness(ground, (height, width)), _grain(ground, (height, width))
    images = torch.empty(n, 3, height, width, dtype=torch.uint8, device=seen.device)
    for channel in range(3):
        darkest = colours.dark[:, channel]
        base, range_ = (_look_up(table, code) for table in (darkest, colours.light[:, channel] - darkest))
        images[:, channel] = base.add_(range_.mul_(shade)).mul_(brightness).add_(grain).clamp_(0, 255)
    return images


def _ground(ground: Ground, size: tuple[int, int]) -> Tensor:
    """The values of the ground: int32, (n, H, W)."""
    tiles = _tiles(ground.origin.device)
    x, y = _places(size, tiles.device)
    values = []
    for k in range(2):
        column, row = (place.floor().int() for place in _affine(ground.matrix[:, k], x, y, ground.origin[:, k]))
        values.append(_look_up(tiles, _cell(column, row, ground.texture[:, k])))
    first, second = values
    a, b, c = ground.horizon.unbind(1)
    x, y = _shares(size, tiles.device)
    beyond = (a[:, None] * x)[:, None, :] + (b[:, None] * y - c[:, None])[:, :, None] > 0
    return first + beyond * (second + 256 - first)


def _brightness(ground: Ground, size: tuple[int, int]) -> Tensor:
    x, y = _shares(size, ground.light.device)
    g, h = ground.light.unbind(1)
    return (h[:, None] * (y - 0.5) + 1)[:, :, None] + (g[:, None] * (x - 0.5))[:, None, :]


def _grain(ground: Ground, size: tuple[int, int]) -> Tensor:
    """Noise between ± amplitude: float32, (n, H, W)."""
    tiles = _tiles(ground.grain.device)
    amplitude, column, row = ground.grain.unbind(1)
    x, y = _places(size, tiles.device)
    cell = _cell(
        (x + column[:, None]).int()[:, None, :],
        (y + row[:, None]).int()[:, :, None],
        torch.full((len(row),), TEXTURES, device=tiles.device),
    )
    return (_look_up(tiles, cell) * (2 / 255) - 1) * _for_pixels(amplitude)


@lru_cache(maxsize=2)
def _tiles(device: torch.device) -> Tensor:
    """The textures of the ground and, last, one of white grain: int32, ((TEXTURES + 1)·PERIOD²,)."""
    generator = seeded_generator(0, "ground")
    tiles = texture_tiles(TEXTURES, PERIOD, generator)
    grain = torch.randint(0, 256, (1, PERIOD, PERIOD), generator=generator, dtype=torch.uint8)
    return torch.cat([tiles, grain]).flatten().int().to(device)


def _cell(column: Tensor, row: Tensor, texture: Tensor) -> Tensor:
    """Where the cells of textures stand in `_tiles`: int32, (n, H, W)."""
    return (row & (PERIOD - 1)) * PERIOD + (column & (PERIOD - 1)) + _for_pixels(texture.int() * PERIOD**2)


def _affine(matrix: Tensor, x: Tensor, y: Tensor, origin: Tensor) -> tuple[Tensor, Tensor]:
    """M·(x, y) + origin on a grid: two of (n, H, W), from (n, 2, 2), (n or 1, W), (n or 1, H) and (n, 2)."""
    along_x = (matrix[:, :, 0, None] * x[:, None])[:, :, None, :]
    along_y = (matrix[:, :, 1, None] * y[:, None] + origin[:, :, None])[:, :, :, None]
    first, second = (along_y + along_x).unbind(1)
    return first, second


def _places(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """The columns and rows of an image, (1, W) and (1, H)."""
    height, width = size
    return torch.arange(width, device=device)[None], torch.arange(height, device=device)[None]


def _shares(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """The middles of columns and rows, as shares of the width and the height."""
    (x, y), (height, width) = _places(size, device), size
    return (x + 0.5) / width, (y + 0.5) / height


def _for_pixels(numbers: Tensor) -> Tensor:
    """(n,) → (n, 1, 1)."""
    return numbers[:, None, None]


def _look_up(table: Tensor, places: Tensor) -> Tensor:
    # Several times faster than table[places] on a CPU.
    return table.index_select(0, places.flatten()).view(places.shape)
