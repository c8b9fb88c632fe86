"""Figure of test accuracy over evaluations and over seconds, with and without refinement during training."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.support.statistics import over_seeds
from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.style import COLOURS

NAME = "multilevel_training"


class Style(NamedTuple):
    """Label, colour and line style of a training."""

    label: str
    colour: str
    line: str


STYLES: Mapping[str, Style] = {
    "multilevel": Style("coarse first, then refined", COLOURS["refined"], "-o"),
    "deep": Style("deep from the start, as many epochs", COLOURS["scratch"], "-s"),
    "short": Style("deep from the start, as much work", COLOURS["scratch"], ":s"),
    "coarse": Style("coarse throughout", COLOURS["steps"], "-^"),
}
UNITS = {"evaluations": 1e6, "seconds": 1.0}


def draw(record: Record) -> Figure:
    """Draw two panels: accuracy over evaluations of F, and over seconds."""
    figure = Figure(figsize=(7.2, 3.5), layout="constrained")
    work, time = figure.subplots(1, 2, sharey=True)
    for name in STYLES:
        histories = over_seeds(record.results, name, "history")
        _curve(work, histories, "evaluations", STYLES[name])
        _curve(time, histories, "seconds", STYLES[name])
    work.set(title="a   Over the work", xlabel="evaluations of F × images (millions)", ylabel="test accuracy (%)")
    time.set(title="b   Over the time", xlabel="seconds of training")
    for axes in (work, time):
        axes.set_xlim(left=0)
    work.plot([], [], "o", color=STYLES["multilevel"].colour, markerfacecolor="white", label="refined here")
    figure.legend(*work.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _curve(axes: Axes, histories: list[list[dict[str, Any]]], x: str, style: Style) -> None:
    """Draw means over the seeds, a band of a standard deviation, and a hollow point before each refinement."""
    epochs = list(zip(*histories, strict=True))
    across = [fmean(row[x] for row in rows) / UNITS[x] for rows in epochs]
    samples = [[100 * row["test_accuracy"] for row in rows] for rows in epochs]
    means = [fmean(sample) for sample in samples]
    spreads = [stdev(sample) if len(sample) > 1 else 0.0 for sample in samples]
    low, high = ([m + sign * s for m, s in zip(means, spreads, strict=True)] for sign in (-1, 1))
    axes.plot(across, means, style.line, color=style.colour, markersize=3, label=style.label)
    axes.fill_between(across, low, high, color=style.colour, alpha=0.12, linewidth=0)
    refined = [epoch for epoch, (now, then) in enumerate(pairwise(epochs)) if then[0]["level"] > now[0]["level"]]
    axes.plot(across, means, "o", markevery=refined, color=style.colour, markerfacecolor="white", markersize=7)


if __name__ == "__main__":
    main(NAME, draw)
