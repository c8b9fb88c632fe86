"""Pictures of flows take points of the plane only, and show what they are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from experiments.support.packed_arrays import packed, unpacked
from odenet import Adaptive, Constant, MLPBranch, ODEBlock, trajectory
from odenet.measure import plane_grid, vector_field
from paper_figs.support.flows import (
    CLASSES,
    animate_grid,
    draw_carried_grid,
    draw_evaluations,
    draw_field,
    draw_paths,
)

GRID = plane_grid(-1.0, 1.0, 5)


def axes() -> Any:
    return Figure().subplots()


def test_arrays_are_read_back_to_two_decimals() -> None:
    x = torch.randn(4, 3, 2)
    np.testing.assert_allclose(unpacked(packed(x)), x.numpy(), atol=0.0051)
    assert packed(torch.tensor([1.0, -0.5, 0.001]))["values"] == "1 -0.5 0"


def test_arrows_have_the_directions_of_the_field_and_stand_at_the_grid() -> None:
    block, panel = ODEBlock(Constant(MLPBranch(2))), axes()
    slopes = vector_field(block, GRID).numpy()
    draw_field(panel, GRID.numpy(), slopes, thin=2)
    (arrows,) = panel.collections
    kept = slopes.reshape(5, 5, 2)[::2, ::2].reshape(-1, 2)
    np.testing.assert_allclose(
        np.stack([arrows.U, arrows.V], 1), kept / np.linalg.norm(kept, axis=1)[:, None], rtol=1e-5
    )
    assert len(arrows.get_offsets()) == 9


def test_paths_are_lines_in_the_colours_of_their_classes() -> None:
    panel, path = axes(), np.random.default_rng(0).normal(size=(7, 2, 2))
    draw_paths(panel, path, [0, 1], jumps=True)
    lines = panel.lines[::2]
    assert [line.get_color() for line in lines] == list(CLASSES)
    np.testing.assert_array_equal(lines[1].get_xydata(), path[:, 1])
    draw_evaluations(panel, [path[0], path[1]])
    assert len(panel.lines) == 6


def test_a_carried_grid_has_its_rows_and_columns() -> None:
    panel = axes()
    draw_carried_grid(panel, GRID.numpy())
    assert len(panel.lines) == 10


@pytest.mark.parametrize("labels", [None, [k % 2 for k in range(25)]], ids=["lines", "points"])
def test_an_animation_has_a_frame_for_each_time(tmp_path: Path, labels: Any) -> None:
    torch.manual_seed(0)
    block = ODEBlock(Constant(MLPBranch(2)), Adaptive("dopri5", per_sample=True))
    with torch.no_grad():
        path = trajectory(block, GRID, [0.0, 0.5, 1.0]).numpy()
    file = animate_grid(path, tmp_path / "grid.gif", seconds=0.3, labels=labels)
    with Image.open(file) as movie:
        assert (getattr(movie, "n_frames", None), movie.info["duration"]) == (3, 100)
        assert movie.size == (240, 240)


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: draw_field(axes(), x, x),
        lambda x: draw_paths(axes(), x, [0], jumps=False),
        lambda x: draw_evaluations(axes(), [x]),
        lambda x: draw_carried_grid(axes(), x),
        lambda x: animate_grid(x, Path("grid.gif")),
    ],
    ids=["field", "paths", "evaluations", "grid", "animation"],
)
def test_points_of_three_dimensions_are_refused(draw: Any) -> None:
    with pytest.raises(ValueError, match=r"of shape \(4, 3\) was given for a picture of the plane, .*principal_path"):
        draw(np.zeros((4, 3)))


def test_an_animation_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"file = '.*\.mp4'; the animation is a GIF: choose a name that ends in \.gif"):
        animate_grid(np.zeros((2, 4, 2)), tmp_path / "grid.mp4")
