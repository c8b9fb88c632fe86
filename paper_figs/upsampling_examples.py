"""Figure of the lecture's worked examples of upsampling, computed by the layers: where each pixel goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from odenet.training import Record
from paper_figs.support.command import main

NAME = "upsampling_examples"
EXPERIMENT = "upsampling"

TINTS = {1: "#9ecae1", 2: "#fdd0a2", 3: "#a1d99b", 4: "#dadaeb"}
"""Colours of the pixels of the small map, which they keep in the upsampled map."""

Paint = Callable[[int, int, float], str]
"""Function (row, column, value) ↦ colour of the cell."""


def draw(record: Record) -> Figure:
    """Draw six panels: nearest neighbour, bed of nails, max pooling, unpooling, transpose convolution, its overlaps."""
    examples = record.results["examples"]
    figure = Figure(figsize=(7.2, 5.6), layout="constrained")
    nearest, nails, pooling, unpooling, transpose, overlap = figure.subplots(3, 2, height_ratios=[1, 1, 1.25]).flat
    _spread(nearest, examples, "nearest", "a   Nearest neighbour")
    _spread(nails, examples, "bed of nails", "b   Bed of nails")
    _pooling(pooling, examples, "c   Max pooling notes where each maximum was …")
    _spread(unpooling, examples, "unpooled", "d   … and max unpooling writes there")
    _transpose(transpose, examples)
    _overlap(overlap, examples)
    return figure


def _spread(axes: Axes, examples: dict, name: str, title: str) -> None:
    _open(axes, title, 8.2, 4.2)
    _grid(axes, examples["small"], 0, 1, _by_value)
    _arrow(axes, 2.2, 2)
    _grid(axes, examples[name], 3.6, 0, _by_value)


def _pooling(axes: Axes, examples: dict, title: str) -> None:
    """Draw max pooling, each maximum in the colour of the pixel that unpooling writes there."""
    _open(axes, title, 8.2, 4.2)
    unpooled = examples["unpooled"]
    _grid(axes, examples["picture"], 0, 0, lambda row, column, _value: _by_value(row, column, unpooled[row][column]))
    _arrow(axes, 4.2, 2)
    _grid(axes, examples["pooled"], 5.6, 1, lambda row, column, _value: TINTS[2 * row + column + 1])


def _transpose(axes: Axes, examples: dict) -> None:
    """Draw what each pixel of the sequence contributes, and the sum."""
    _open(axes, "e   Transpose convolution of (2, 3), stride 2", 8.6, 5.4)
    filters = "(" + ", ".join(f"{value:g}" for value in examples["filter"]) + ")"
    for place, (value, written) in enumerate(zip(examples["sequence"], examples["written"], strict=True)):
        axes.text(2.9, 1.3 * place + 0.5, f"{value:g} × {filters}", ha="right", va="center")
        _grid(axes, [written], 3.2, 1.3 * place, lambda _row, _column, v, tint=TINTS[place + 1]: tint if v else "white")
    axes.plot([3.2, 8.2], [2.75, 2.75], color="black", linewidth=0.8)
    axes.text(2.9, 3.4, "sum", ha="right", va="center")
    _grid(axes, [examples["transposed"]], 3.2, 2.9, _sum_colour)


def _overlap(axes: Axes, examples: dict) -> None:
    """Draw the number of terms that are summed in each pixel of the output."""
    _open(axes, "f   3×3 filters, stride 2, pad 1: terms in each pixel", 8.2, 6.2)
    shades = {1: "#f0f0f0", 2: "#fdae6b", 4: "#e6550d"}
    _grid(axes, examples["overlap"], 1, 0, lambda _row, _column, value: shades[int(value)])


def _sum_colour(_row: int, column: int, _value: float) -> str:
    """Return the colour of the pixel that wrote there, or a third colour where both did."""
    return TINTS[1] if column < 2 else "#f7b6d2" if column == 2 else TINTS[2]


def _by_value(_row: int, _column: int, value: float) -> str:
    return TINTS.get(int(value), "white")


def _grid(axes: Axes, values: Sequence[Sequence[float]], left: float, top: float, paint: Paint) -> None:
    """Draw a map: a square for each pixel, with its value."""
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            corner = (left + column, top + row)
            colour = paint(row, column, value)
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=colour, edgecolor="#555555", linewidth=0.8))
            ink = "#aaaaaa" if value == 0 else "black"
            axes.text(corner[0] + 0.5, corner[1] + 0.5, f"{value:g}", ha="center", va="center", color=ink)


def _arrow(axes: Axes, left: float, height: float) -> None:
    axes.annotate("", (left + 1.2, height), (left, height), arrowprops={"arrowstyle": "->", "linewidth": 1.2})


def _open(axes: Axes, title: str, width: float, height: float) -> None:
    axes.set(xlim=(-0.1, width), ylim=(height, -0.1), aspect="equal", anchor="W")
    axes.set_title(title)
    axes.set_axis_off()


if __name__ == "__main__":
    main(NAME, draw, EXPERIMENT)
