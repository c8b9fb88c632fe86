"""Figure of IoU, boundary F1, checkerboard artefacts and time of two nets with each kind of upsampling."""

from __future__ import annotations

from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.support.statistics import over_seeds
from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.style import COLOURS

NAME = "upsampling"
NETS = {"deconvnet": "DeconvNet (no skips)", "unet": "U-Net"}
MARKERS = {"deconvnet": "o", "unet": "s"}
SHIFTS = {"deconvnet": 0.16, "unet": -0.16}
"""Distance of a net's points from the line of its upsampling."""


def draw(record: Record) -> Figure:
    """Draw four panels with a row for each kind of upsampling: small dots for seeds, a large one for their median."""
    figure = Figure(figsize=(7.2, 2.9), layout="constrained")
    panels = figure.subplots(1, 4, sharey=True)
    _scores(panels[0], record, "mean_iou", "a   Mean IoU (%)")
    _scores(panels[1], record, "boundary_f1", "b   Boundary F1 (%)")
    _checkerboard(panels[2], record)
    _seconds(panels[3], record)
    names = record.settings["upsamplings"]
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    for net in record.settings["nets"]:
        panels[0].plot([], [], MARKERS[net], color=COLOURS[net], label=NETS[net])
    panels[2].plot([], [], "o", color="#666666", markerfacecolor="white", label="before training")
    panels[2].plot([], [], "o", color="#666666", label="after")
    panels[2].plot([], [], "o", color="#666666", markersize=7, alpha=0.45, label="median of the seeds")
    figure.legend(loc="outside lower center", ncols=5, handletextpad=0.2, columnspacing=1.4)
    return figure


def _scores(axes: Axes, record: Record, entry: str, title: str) -> None:
    for net in record.settings["nets"]:
        _rows(axes, record, net, entry, filled=True)
    axes.set_title(title)


def _checkerboard(axes: Axes, record: Record) -> None:
    for net in record.settings["nets"]:
        _rows(axes, record, net, "initial_checkerboard", filled=False)
        _rows(axes, record, net, "checkerboard", filled=True)
    axes.set(xscale="log", title="c   Checkerboard (%)")
    axes.set_xticks([0.01, 0.1, 1, 10], ["0.01", "0.1", "1", "10"])
    axes.tick_params(axis="x", which="minor", bottom=False)


def _seconds(axes: Axes, record: Record) -> None:
    for net in record.settings["nets"]:
        seconds = record.results[f"times/{net}"]["seconds"]
        milliseconds = [1000 * seconds[name] for name in record.settings["upsamplings"]]
        places = [row + SHIFTS[net] for row in range(len(milliseconds))]
        axes.plot(milliseconds, places, MARKERS[net], color=COLOURS[net])
    axes.set_title("d   Forward pass (ms)")
    axes.margins(x=0.15)


def _rows(axes: Axes, record: Record, net: str, entry: str, *, filled: bool) -> None:
    """Draw the value of each seed in percent, small, and their median, which no collapsed seed moves, large and pale.

    The nets stand one above the other, so that their seeds do not cover each other.
    """
    colour: dict[str, Any] = {"color": COLOURS[net], "markerfacecolor": COLOURS[net] if filled else "white"}
    for row, name in enumerate(record.settings["upsamplings"]):
        values = [100 * value for value in over_seeds(record.results, f"{net}/{name}", entry)]
        place = row + SHIFTS[net]
        axes.plot(median(values), place, MARKERS[net], markersize=7, alpha=0.45, **colour)
        axes.plot(values, [place] * len(values), MARKERS[net], markersize=2.8, markeredgewidth=0.8, **colour)


if __name__ == "__main__":
    main(NAME, draw)
