"""Figure of the accuracy of each trained net under every solver and number of steps, as a matrix."""

from __future__ import annotations

from statistics import fmean, stdev
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.solver_swap import OWN
from experiments.support.statistics import over_seeds
from odenet.training import Record
from paper_figs.support.command import main

NAME = "solver_swap"
TRAININGS = {"euler": "Euler\n(a ResNet)", "mixed": "mixed steps", "rk4": "RK4"}
STATISTICS = {"running": "BatchNorm", "recalibrated": "BatchNorm, recalibrated", "none": "GroupNorm"}
COLUMNS = {
    "euler×1": "Euler\nh = 1",
    "euler×2": "Euler\n1/2",
    "euler×4": "Euler\n1/4",
    "midpoint×1": "Midpoint\n1",
    "rk4×1": "RK4\n1",
    "rk4×4": "RK4\n1/4",
    "dopri5": "dopri5",
}
LARGEST = 30.0
"""Loss in percentage points at which the colours end."""


class Row(NamedTuple):
    """A row of the matrix: a training, the relation of its layers at the start, and a kind of statistics."""

    stepping: str
    initialization: str
    statistics: str
    values: dict[str, list[float]]


def draw(record: Record) -> Figure:
    """Draw a cell for each net (row) and test (column), coloured by what is lost against the test in the frame."""
    rows = _rows(record)
    figure = Figure(figsize=(7.2, 1.3 + 0.26 * len(rows)), layout="constrained")
    axes = figure.subplots()
    losses = [[fmean(row.values[OWN[row.stepping]]) - fmean(row.values[way]) for way in COLUMNS] for row in rows]
    image = axes.imshow(losses, cmap="RdBu_r", vmin=-LARGEST, vmax=LARGEST, aspect="auto", alpha=0.75)
    for number, row in enumerate(rows):
        for column, way in enumerate(COLUMNS):
            dark = losses[number][column] > 0.6 * LARGEST
            _cell(axes, number, column, row.values[way], own=OWN[row.stepping] == way, dark=dark)
    _label(axes, rows)
    figure.colorbar(image, ax=axes, label="accuracy lost (points)", pad=0.015, aspect=30, extend="max")
    return figure


def _rows(record: Record) -> list[Row]:
    """Return the rows in the order of the trainings, kinds of statistics and initializations."""
    rows = []
    for key in dict.fromkeys(name.partition("/")[2] for name in record.results):
        _, initialization, stepping, _ = key.split("-")
        answers = over_seeds(record.results, key, "answers")
        for statistics in STATISTICS:
            if statistics in answers[0]:
                values = {way: [100 * each[statistics][way]["accuracy"] for each in answers] for way in COLUMNS}
                rows.append(Row(stepping, initialization, statistics, values))
    places = [list(order) for order in (TRAININGS, STATISTICS)]
    return sorted(
        rows, key=lambda row: (places[0].index(row.stepping), places[1].index(row.statistics), row.initialization)
    )


def _cell(axes: Axes, row: int, column: int, values: list[float], *, own: bool, dark: bool) -> None:
    spread = f"±{stdev(values):.1f}" if len(values) > 1 else ""
    weight = "bold" if own else "normal"
    axes.text(
        column,
        row,
        f"{fmean(values):.1f}{spread}",
        ha="center",
        va="center",
        fontsize=6.4,
        fontweight=weight,
        color="white" if dark else "black",
    )
    if own:
        axes.add_patch(Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, fill=False, edgecolor="black", linewidth=1.2))


def _label(axes: Axes, rows: list[Row]) -> None:
    starts = {"independent": "", "tied": ", equal layers"}
    labels = [STATISTICS[row.statistics] + starts[row.initialization] for row in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=7)
    axes.set_xticks(range(len(COLUMNS)), list(COLUMNS.values()))
    axes.xaxis.tick_top()
    axes.set_title("Test accuracy (%) when tested with …", pad=8)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for stepping, name in TRAININGS.items():
        own = [number for number, row in enumerate(rows) if row.stepping == stepping]
        if own:
            axes.annotate(
                f"trained with {name}",
                (0, fmean(own)),
                xycoords=("axes fraction", "data"),
                xytext=(-165, 0),
                textcoords="offset points",
                ha="center",
                va="center",
                rotation=90,
                fontsize=7.5,
            )
            if own[0]:
                axes.axhline(own[0] - 0.5, color="white", linewidth=3)


if __name__ == "__main__":
    main(NAME, draw)
