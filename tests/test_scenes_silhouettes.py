"""Silhouettes of every class are distinct drawings that show all their parts within the grid."""

from __future__ import annotations

import pytest
import torch

from odenet.data.scenes.silhouettes import CLASSES, VARIANTS, silhouettes


def test_the_classes_are_those_of_the_lecture() -> None:
    assert silhouettes().names == ("horse", "church", "toothbrush", "person")
    assert silhouettes().classes.unique_consecutive().tolist() == [-1, 0, 1, 2, 3]
    assert ((silhouettes().classes + 1).bincount() == VARIANTS).all()


@pytest.mark.parametrize("side", [16, 64, 96])
def test_objects_of_a_class_cover_alike_shares_of_the_grid_at_every_resolution(side: int) -> None:
    areas = silhouettes(side).areas[VARIANTS:].view(len(CLASSES), VARIANTS)
    for area, expected in zip(areas.mean(1), (0.24, 0.42, 0.09, 0.19), strict=True):
        assert float(area) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(("number", "parts"), [(0, 3), (1, 3), (2, 3), (3, 4)])
def test_every_part_of_every_drawing_is_seen(number: int, parts: int) -> None:
    drawings = silhouettes().parts[silhouettes().classes == number]
    for part in range(1, parts + 1):
        assert (drawings == part).flatten(1).any(1).all()
    assert int(drawings.max()) == parts


def test_no_two_drawings_are_the_same() -> None:
    assert len(silhouettes().parts.flatten(1).unique(dim=0)) == len(silhouettes())


def test_drawings_are_not_cut_off_by_the_edge_of_their_grid() -> None:
    parts = silhouettes().parts[VARIANTS:]
    edge = torch.cat([parts[:, 0], parts[:, -1], parts[:, :, 0], parts[:, :, -1]], dim=1)
    assert (edge > 0).float().mean() < 0.01


def test_silhouettes_are_drawn_once() -> None:
    assert silhouettes() is silhouettes()
