"""Figure of IoU, boundary F1, checkerboard artefacts and time of two nets with each kind of upsampling."""

from __future__ import annotations

from statistics import fmean
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


def draw(record: Record) -> Figure:
    """Draw four panels with a row for each kind of upsampling; a small dot for each seed, a large one for the mean."""
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
    figure.legend(loc="outside lower center", ncols=4)
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


def _seconds(axes: Axes, record: Record) -> None:
    for net in record.settings["nets"]:
        seconds = record.results[f"times/{net}"]["seconds"]
        milliseconds = [1000 * seconds[name] for name in record.settings["upsamplings"]]
        axes.plot(milliseconds, range(len(milliseconds)), MARKERS[net], color=COLOURS[net])
    axes.set(xlim=(0, None), title="d   Forward pass (ms)")


def _rows(axes: Axes, record: Record, net: str, entry: str, *, filled: bool) -> None:
    """Draw the value of each seed in percent, small and pale, and the mean over seeds."""
    colour: dict[str, Any] = {"color": COLOURS[net], "markerfacecolor": COLOURS[net] if filled else "white"}
    for row, name in enumerate(record.settings["upsamplings"]):
        values = [100 * value for value in over_seeds(record.results, f"{net}/{name}", entry)]
        axes.plot(values, [row] * len(values), MARKERS[net], alpha=0.4, markersize=2.5, **colour)
        axes.plot(fmean(values), row, MARKERS[net], **colour)


if __name__ == "__main__":
    main(NAME, draw)
