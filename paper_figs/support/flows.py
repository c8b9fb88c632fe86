"""Pictures of flows in the plane: vector fields, paths, how a grid is carried, regions, and animations.

The arrays are those of `plane_grid`, `vector_field`, `solve_path` and `evaluation_points` of `odenet.measure`, and of
`odenet.trajectory`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from odenet.blocks.extras import Extra
from odenet.training.files import write_atomically

with Extra("data"):
    from PIL import Image

CLASSES = ("#0072B2", "#D55E00")
"""Colours of the two classes of points."""


def require_plane(x: np.ndarray, name: str) -> None:
    """Raise a `ValueError` unless x, called `name` in the message, holds points of the plane.

    Raises:
        ValueError: if the last axis of x has not two entries.
    """
    if x.ndim < 2 or x.shape[-1] != 2:
        raise ValueError(
            f"{name} of shape {x.shape} was given for a picture of the plane, whose points have two coordinates: "
            "choose two, as in states[..., :2], or project the states by odenet.measure.principal_path."
        )


def draw_field(axes: Axes, points: np.ndarray, slopes: np.ndarray, thin: int = 1) -> None:
    """Draw arrows of the slopes at points of a grid, all of one length, shaded by their size.

    Args:
        axes: axes to draw on.
        points: points of a square grid, of shape (n², 2), row by row.
        slopes: slopes at the points, of the same shape.
        thin: draw every so many points of each row and each column.
    """
    require_plane(points, "points")
    require_plane(slopes, "slopes")
    side = round(len(points) ** 0.5)
    kept = (slice(None, None, thin), slice(None, None, thin))
    x, v = (each.reshape(side, side, 2)[kept].reshape(-1, 2) for each in (points, slopes))
    size = np.linalg.norm(v, axis=1)
    unit = v / np.maximum(size, 1e-12)[:, None]
    axes.quiver(*x.T, *unit.T, size, cmap="Greys", angles="xy", scale=2.4 * side / thin, pivot="mid", width=0.004)


def draw_paths(axes: Axes, path: np.ndarray, labels: Sequence[int], *, jumps: bool) -> None:
    """Draw the paths of points: straight jumps between the states of a network, or smooth lines of a flow.

    Args:
        axes: axes to draw on.
        path: states of shape (times, points, 2).
        labels: class of each point, 0 or 1.
        jumps: whether to mark each state.
    """
    require_plane(path, "path")
    for states, label in zip(path.swapaxes(0, 1), labels, strict=True):
        axes.plot(*states.T, "o-" if jumps else "-", color=CLASSES[label], markersize=2, linewidth=0.8, alpha=0.8)
        axes.plot(*states[-1], "o", color=CLASSES[label], markersize=4, markeredgecolor="white", markeredgewidth=0.5)


def draw_evaluations(axes: Axes, evaluations: Sequence[np.ndarray]) -> None:
    """Mark the states at which F was evaluated, arrays of shape (points, 2)."""
    for states in evaluations:
        require_plane(states, "evaluations")
        axes.plot(*states.T, ".", color="black", markersize=1.2)


def draw_carried_grid(axes: Axes, carried: np.ndarray) -> None:
    """Draw the lines of a square grid whose points, of shape (n², 2) row by row, have been carried elsewhere."""
    require_plane(carried, "carried")
    side = round(len(carried) ** 0.5)
    grid = carried.reshape(side, side, 2)
    for lines in (grid, grid.swapaxes(0, 1)):
        axes.plot(lines[..., 0].T, lines[..., 1].T, color="#666666", linewidth=0.5)


def animate_grid(path: np.ndarray, file: Path, *, seconds: float = 3.0, labels: Sequence[int] | None = None) -> Path:
    """Write an animation of how points of the plane are carried, as a GIF.

    Args:
        path: states of shape (frames, points, 2); lines are drawn if the points are those of a square grid.
        file: file to write, whose name ends in .gif.
        seconds: duration.
        labels: class of each point, 0 or 1, for its colour; without them lines of a grid are drawn.

    Returns:
        The file.

    Raises:
        ValueError: if the points are not in the plane, or the name of the file has another ending.
    """
    require_plane(path, "path")
    if file.suffix != ".gif":
        raise ValueError(f"file = {str(file)!r}; the animation is a GIF: choose a name that ends in .gif.")
    figure = Figure(figsize=(3, 3), dpi=80)
    axes = figure.add_axes((0, 0, 1, 1))
    low, high = path.min((0, 1)), path.max((0, 1))

    frames, canvas = [], FigureCanvasAgg(figure)
    for points in path:
        axes.clear()
        axes.set(xlim=(low[0] - 0.1, high[0] + 0.1), ylim=(low[1] - 0.1, high[1] + 0.1), xticks=[], yticks=[])
        if labels is None:
            draw_carried_grid(axes, points)
        else:
            axes.scatter(*points.T, s=6, c=[CLASSES[label] for label in labels])
        canvas.draw()
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    movie = io.BytesIO()
    first, *others = frames
    duration = round(1000 * seconds / len(frames))
    first.save(movie, format="gif", save_all=True, append_images=others, duration=duration, loop=0)
    write_atomically(file, movie.getvalue(), what="animation")
    return file
