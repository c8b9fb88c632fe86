"""Textures: random periodic grey patterns s : torus → [0, 1], as square tiles of bytes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Pattern = Callable[[Tensor, Tensor, int, torch.Generator], Tensor]
"""Function (x, y, n, generator) ↦ n patterns of any range, (n, side, side), at points x, y of the unit torus."""


def texture_tiles(count: int, side: int, generator: torch.Generator) -> Tensor:
    """Draw `count` tiles of alternating kinds of patterns, each with values from 0 (darkest) to 255 (lightest).

    Tiles are periodic: opposite edges match, so that one tile can cover a plane.

    Args:
        count: Number of tiles.
        side: Number of cells along an edge.
        generator: Random generator for frequencies, directions and phases.

    Returns:
        uint8, (count, side, side).
    """
    place = torch.arange(side) / side
    y, x = place[None, :, None], place[None, None, :]
    tiles = torch.empty(count, side, side)
    for kind, pattern in enumerate(_PATTERNS):
        turn = tiles[kind :: len(_PATTERNS)]
        turn.copy_(pattern(x, y, len(turn), generator))
    darkest, lightest = tiles.amin((1, 2), keepdim=True), tiles.amax((1, 2), keepdim=True)
    return (255 * (tiles - darkest) / (lightest - darkest).clamp(min=1e-6)).round().to(torch.uint8)


def stripes(x: Tensor, y: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Return a plane wave with soft or sharp edges."""
    return _edged(_wave(x, y, n, generator), n, generator)


def checks(x: Tensor, y: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Return the product of two plane waves."""
    return _edged(_wave(x, y, n, generator) * _wave(x, y, n, generator), n, generator)


def dots(x: Tensor, y: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Return discs of random radius on a square lattice."""
    columns, across, down, radius = _uniform(4, n, generator)
    lattice = 2 + (7 * columns).floor()
    hills = _cosine(lattice * x + across) + _cosine(lattice * y + down)
    return _edged(hills + 0.5 - 2 * radius, n, generator)


def bricks(x: Tensor, y: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Return rows of bricks in several greys with light joints, every second row shifted by half a brick."""
    high, wide, phase, width = _uniform(4, n, generator)
    rows, columns = 2 * (1 + (4 * high).floor()), 2 + (4 * wide).floor()
    height = rows * y + phase
    length = columns * x + height.floor() % 2 / 2
    joint = torch.minimum(height % 1, length % 1) < 0.08 + 0.15 * width
    grey = _cosine(0.37 * (height.floor() % rows) + 0.71 * (length.floor() % columns))
    return torch.where(joint, 1.5, 0.4 * grey)


def clouds(x: Tensor, _y: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Return noise with amplitude proportional to frequency to the power -β, 0.3 < β < 2: from grain to clouds."""
    (steepness,) = _uniform(1, n, generator)
    side = x.shape[-1]
    frequency = torch.hypot(torch.fft.fftfreq(side, 1 / side)[:, None], torch.fft.rfftfreq(side, 1 / side))
    noise = torch.fft.rfft2(torch.randn(n, side, side, generator=generator))
    return torch.fft.irfft2(noise * frequency.clamp(min=1) ** -(0.3 + 1.7 * steepness), s=(side, side))


_PATTERNS: tuple[Pattern, ...] = (clouds, stripes, clouds, checks, clouds, dots, bricks)


def _wave(x: Tensor, y: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Return a plane wave with up to eight periods along each side, whole numbers of them, so that it is periodic."""
    across, down, phase = _uniform(3, n, generator)
    across, down = (17 * across).floor() - 8, (9 * down).floor()
    across = torch.where((across == 0) & (down == 0), 3, across)
    return _cosine(across * x + down * y + phase)


def _edged(values: Tensor, n: int, generator: torch.Generator) -> Tensor:
    (sharpness,) = _uniform(1, n, generator)
    return torch.tanh((0.5 + 5 * sharpness**2) * values)


def _cosine(turns: Tensor) -> Tensor:
    return torch.cos(2 * math.pi * turns)


def _uniform(numbers: int, n: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    return torch.rand(numbers, n, 1, 1, generator=generator).unbind()
