"""Figure of flows in the plane: fields with paths of points, carried grids with regions, and Lyapunov exponents."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.plane import NETS, REACH
from experiments.support.packed_arrays import unpacked
from odenet.measure import plane_grid
from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.flows import draw_carried_grid, draw_evaluations, draw_field, draw_paths

NAME = "plane"
TITLES = {
    "resnet": "ResNet, h = 1",
    "resnet_small_steps": "ResNet, h = 1/4",
    "ode_net": "ODE-Net",
    "augmented": "augmented",
    "second_order": "second order",
}


def draw(record: Record) -> Figure:
    """Draw a column for each net: its field and paths of points, the carried grid, and Lyapunov exponents."""
    seed, points = record.settings["seeds"][0], record.settings["sets"][0]
    figure = Figure(figsize=(9.0, 5.6), layout="constrained")
    panels = figure.subplots(3, len(NETS))
    grid = plane_grid(-REACH, REACH, record.settings["grid"]).numpy()
    for column, name in zip(panels.T, NETS, strict=True):
        result = record.results[f"seed{seed}/{points}/{name}"]
        shown = result["picture"]
        for axes in column:
            axes.set(xticks=[], yticks=[])
            axes.set_aspect("equal", adjustable="datalim")
            axes.grid(visible=False)
        column[0].set_title(
            f"{TITLES[name]}\n{100 * result['accuracy']:.1f} %, {result['evaluations']} × F", fontsize=8
        )
        _paths(column[0], grid, shown)
        draw_carried_grid(column[1], unpacked(shown["carried"]))
        _maps(column[2], shown)
    for axes, text in zip(
        panels[:, 0], ("field at t = 0, paths", "a grid at t = T", "exponents, regions"), strict=True
    ):
        axes.set_ylabel(text)
    return figure


def _paths(axes: Axes, grid: np.ndarray, shown: dict[str, Any]) -> None:
    draw_field(axes, grid, unpacked(shown["field"]), thin=max(1, round(len(grid) ** 0.5) // 12))
    draw_paths(axes, unpacked(shown["path"]), shown["labels"], jumps=not shown["evaluations"])
    draw_evaluations(axes, [unpacked(states) for states in shown["evaluations"]])


def _maps(axes: Axes, shown: dict[str, Any]) -> None:
    """Shade the largest finite-time exponent over the plane, and draw the border of the regions of the classes."""
    exponents, regions = (unpacked(shown[name]) for name in ("exponents", "regions"))
    side, extent = round(len(exponents) ** 0.5), (-REACH, REACH, -REACH, REACH)
    axes.imshow(exponents.reshape(side, side), origin="lower", extent=extent, cmap="viridis")
    axis = np.linspace(-REACH, REACH, side)
    if regions.min() < 0.5 < regions.max():
        axes.contour(axis, axis, regions.reshape(side, side), levels=[0.5], colors="white", linewidths=1.2)


if __name__ == "__main__":
    main(NAME, draw)
