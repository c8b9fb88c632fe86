"""Figure of time and memory of a training step as functions of steps, width, batch size and image size."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from odenet.training import Record
from paper_figs.support.command import main

NAME = "scaling"
EXPERIMENT = "benchmarks.scaling"

SIZES = {
    "blocks": ("a   steps", "residual blocks"),
    "channels": ("b   width", "channels"),
    "batch": ("c   batch", "images"),
    "side": ("d   resolution", "side, pixels"),
}
"""Title of each panel and label of its axis."""
TIME, MEMORY, GUIDE = "#0072B2", "#D55E00", "#999999"


def draw(record: Record) -> Figure:
    """Draw a log-log panel for each size that is doubled: time and memory, relative to the smallest size."""
    figure = Figure(figsize=(7.2, 2.5), layout="constrained")
    panels = figure.subplots(1, len(SIZES), sharey=True)
    for axes, (size, (title, label)) in zip(panels, SIZES.items(), strict=True):
        _panel(axes, record.results[size])
        axes.set(title=title, xlabel=label)
    panels[0].set_ylabel("over the smallest")
    handles, _ = panels[0].get_legend_handles_labels()
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _panel(axes: Axes, result: Mapping[str, Any]) -> None:
    sizes = [int(size) for size in result["seconds"]]
    first, last = sizes[0], sizes[-1]
    for power, style, label in ((1, ":", "∝ size"), (2, "-.", "∝ size²")):
        axes.plot([first, last], [1, (last / first) ** power], style, color=GUIDE, linewidth=1, label=label)
    time = [median(taken) for taken in result["seconds"].values()]
    memory = list(result["peak_bytes"].values())
    axes.plot(sizes, [each / time[0] for each in time], "o-", color=TIME, label="time of a training step")
    axes.plot(sizes, [each / memory[0] for each in memory], "s--", color=MEMORY, label="peak memory")
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


if __name__ == "__main__":
    main(NAME, draw, EXPERIMENT)
