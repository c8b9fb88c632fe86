"""Strokes, discs, boxes and polygons cover the areas that geometry gives them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from odenet.data.scenes.strokes import Canvas

CANVAS = Canvas(2, 200)


def area(cells: Tensor) -> list[float]:
    """Return the area of each drawing, in units of the grid [-1, 1]²."""
    return (4 * cells.float().mean((1, 2))).tolist()


def test_a_disc_has_the_area_of_its_radius_one_for_each_drawing() -> None:
    cells = CANVAS.disc((0.1, -0.2), torch.tensor([0.3, 0.5]))
    assert area(cells) == pytest.approx([math.pi * 0.09, math.pi * 0.25], rel=0.01)


def test_a_stroke_is_a_rectangle_with_two_half_discs() -> None:
    cells = CANVAS.stroke([(-0.5, 0.0), (0.5, 0.0)], [0.1, 0.1])
    assert area(cells)[0] == pytest.approx(0.2 + math.pi * 0.01, rel=0.02)


def test_a_stroke_tapers_linearly() -> None:
    cells = CANVAS.stroke([(-0.8, 0.0), (0.8, 0.0)], [0.1, 0.3])
    width = 2 / 200 * cells[0, :, 100].sum()
    assert float(width) == pytest.approx(0.4, abs=0.02)


def test_a_bent_stroke_is_the_union_of_its_pieces() -> None:
    a, b, c = (-0.5, -0.5), (0.5, -0.5), (0.5, 0.5)
    pieces = CANVAS.union(CANVAS.stroke([a, b], [0.1, 0.2]), CANVAS.stroke([b, c], [0.2, 0.1]))
    assert torch.equal(CANVAS.stroke([a, b, c], [0.1, 0.2, 0.1]), pieces)


def test_x_points_right_and_y_points_down() -> None:
    cells = CANVAS.disc((0.5, 0.9), 0.05)[0].nonzero().float().mean(0)
    assert cells.tolist() == pytest.approx([189.5, 149.5], abs=1)


def test_a_box_is_between_its_sides_and_a_triangle_half_of_it() -> None:
    assert area(CANVAS.box(-0.5, -0.25, 0.5, 0.75))[0] == pytest.approx(1.0, rel=0.02)
    triangle = CANVAS.polygon((0.0, -0.5), (0.5, 0.5), (-0.5, 0.5))
    assert area(triangle)[0] == pytest.approx(0.5, rel=0.02)
    assert bool((triangle <= CANVAS.box(-0.5, -0.5, 0.5, 0.5)).all())
