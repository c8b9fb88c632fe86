"""Grids give the positions of pixels, as averages over an image of coordinates show."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from odenet.layers import Inception, InceptionWidths
from odenet.layers.grid import Grid

CHAINS = [
    nn.Sequential(nn.AvgPool2d(3, 2), nn.AvgPool2d(2), nn.AvgPool2d(5, 1)),
    nn.Sequential(nn.AvgPool2d(2), nn.ReLU(), nn.AvgPool2d(3, 3, ceil_mode=True)),
    nn.Sequential(nn.Sequential(nn.AvgPool2d(7, 2, padding=3), nn.BatchNorm2d(1)), nn.AvgPool2d(3, 2)),
]


@pytest.mark.parametrize("chain", CHAINS)
def test_a_mean_of_coordinates_is_the_centre_of_its_pixel(chain: nn.Sequential):
    grid = Grid().through(chain)
    y = chain.eval()(torch.arange(100.0).expand(1, 1, 100, 100))[0, 0, 4]
    inside = slice(2, len(y) - 2)  # where the averages contain no padding
    centres = grid.centre + grid.stride * torch.arange(len(y))
    torch.testing.assert_close(y[inside], centres[inside], rtol=1e-4, atol=1e-3)


def test_dilation_spreads_the_taps():
    assert Grid().then(3, dilation=4) == Grid(1, 4.0) == Grid().through(nn.Conv2d(1, 1, 3, dilation=4))


def test_a_map_of_n_pixels_needs_as_much_of_the_image_as_its_centres_say():
    chain = CHAINS[0]
    grid = Grid().through(chain)
    pixels = int(grid.stride * 6 + 2 * grid.centre) + 1
    assert chain(torch.zeros(1, 1, pixels, pixels)).shape[2] == 7
    assert chain(torch.zeros(1, 1, pixels - 1, pixels - 1)).shape[2] == 6


def test_an_inception_module_keeps_the_grid():
    assert Grid(4, 1.5).through(Inception(8, InceptionWidths(1, 1, 1, 1, 1, 1))) == Grid(4, 1.5)


def test_pixels_cut_off_move_the_first_centre():
    assert Grid(8, 3.5).moved(2) == Grid(8, 19.5)


def test_a_layer_that_does_not_say_where_it_looks_is_refused():
    with pytest.raises(TypeError, match=r"grid after Linear was asked for; .*convolutions, poolings.*Grid.then"):
        Grid().through(nn.Sequential(nn.ReLU(), nn.Linear(2, 2)))


@pytest.mark.parametrize("layer", [nn.Conv2d(1, 1, (3, 5)), nn.Conv2d(1, 1, 3, padding="same")])
def test_a_layer_with_two_grids_or_none_is_refused(layer: nn.Conv2d):
    with pytest.raises(TypeError, match="a grid is the same along both axes: use square layers"):
        Grid().through(layer)


def test_a_frozen_norm_keeps_the_position_of_every_pixel():
    from torchvision.ops import FrozenBatchNorm2d

    assert Grid(4, 1.5).through(FrozenBatchNorm2d(3)) == Grid(4, 1.5)
