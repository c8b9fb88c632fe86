"""Textures are periodic, distinct, and a function of the random generator."""

from __future__ import annotations

import pytest
import torch

from odenet.data.scenes.textures import Pattern, bricks, checks, clouds, dots, stripes, texture_tiles
from odenet.data.seeds import seeded_generator

SIDE = 32


def tiles(count: int = 70, seed: int = 0) -> torch.Tensor:
    return texture_tiles(count, SIDE, seeded_generator(seed, "test"))


def test_a_tile_reaches_from_the_darkest_to_the_lightest_byte() -> None:
    assert tiles().dtype == torch.uint8
    assert tiles().shape == (70, SIDE, SIDE)
    assert (tiles().amin((1, 2)) == 0).all()
    assert (tiles().amax((1, 2)) == 255).all()


def test_tiles_are_a_function_of_the_generator_and_differ_from_each_other() -> None:
    assert torch.equal(tiles(), tiles())
    assert not torch.equal(tiles(), tiles(seed=1))
    assert len(tiles().flatten(1).unique(dim=0)) == 70


@pytest.mark.parametrize("pattern", [stripes, checks, dots, bricks])
def test_a_pattern_closes_on_the_torus(pattern: Pattern) -> None:
    here, there = torch.arange(SIDE) / SIDE, torch.arange(SIDE) / SIDE + 1
    first = pattern(here[None, None], here[None, :, None], 6, seeded_generator(0, "test"))
    second = pattern(there[None, None], there[None, :, None], 6, seeded_generator(0, "test"))
    # A cell on an edge of the pattern may fall on either side of it.
    assert ((first - second).abs() > 1e-3).float().mean() < 0.1


def test_clouds_change_no_more_across_the_seam_than_within() -> None:
    grid = torch.arange(SIDE) / SIDE
    noise = clouds(grid[None, None], grid[None, :, None], 50, seeded_generator(0, "test"))
    seam = (noise[:, :, 0] - noise[:, :, -1]).square().mean()
    within = (noise[:, :, 1:] - noise[:, :, :-1]).square().mean()
    assert 0.7 < seam / within < 1.4
