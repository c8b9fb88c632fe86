"""Figure of test accuracy over evaluations and over seconds, with and without refinement during training."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from statistics import fmean
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.support.statistics import evaluated, over_seeds
from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.seeds import curve, seeds
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
    """Draw three panels: accuracy over evaluations of F, over seconds, and at the end."""
    figure = Figure(figsize=(7.2, 3.5), layout="constrained")
    work, time, end = figure.subplots(1, 3, width_ratios=(1.25, 1.25, 1))
    for name in STYLES:
        histories = over_seeds(record.results, name, "history")
        _curve(work, histories, "evaluations", STYLES[name])
        _curve(time, histories, "seconds", STYLES[name])
    work.set(
        title="a   Over the work", xlabel="evaluations of F × images (millions)", ylabel="accuracy on unseen images (%)"
    )
    time.set(title="b   Over the time", xlabel="seconds of training")
    least = min(100 * a for name in STYLES for a in over_seeds(record.results, name, "accuracy"))
    for axes in (work, time):
        axes.set(xlim=(0, None), ylim=(least - 37, None))  # below are the first batches after a restart
    time.tick_params(labelleft=False)
    _end(end, record)
    work.plot([], [], "o", color=STYLES["multilevel"].colour, markerfacecolor="white", label="refined here")
    figure.legend(*work.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _end(axes: Axes, record: Record) -> None:
    """Draw the final test accuracy of every seed, on an axis of its own that shows how close they are."""
    for place, (name, style) in enumerate(STYLES.items()):
        seeds(axes, place, [100 * a for a in over_seeds(record.results, name, "accuracy")], color=style.colour)
    axes.set_xticks(range(len(STYLES)), ["refined", "deep", "deep,\nless", "coarse"], fontsize=7.5)
    axes.set(title="c   At the end", ylabel="test accuracy (%)", xlim=(-0.6, len(STYLES) - 0.4))
    axes.grid(visible=False, axis="x")


def _curve(axes: Axes, histories: list[list[dict[str, Any]]], x: str, style: Style) -> None:
    """Draw means over the seeds, a band of a standard deviation, and a hollow point before each refinement."""
    epochs = list(zip(*histories, strict=True))
    across = [fmean(row[x] for row in rows) / UNITS[x] for rows in epochs]
    samples = [[100 * a for a in over] for over in zip(*map(evaluated, histories), strict=True)]
    curve(axes, across, samples, style.line, color=style.colour, markersize=3, label=style.label)
    refined = [epoch for epoch, (now, then) in enumerate(pairwise(epochs)) if then[0]["level"] > now[0]["level"]]
    means = [fmean(sample) for sample in samples]
    axes.plot(across, means, "o", markevery=refined, color=style.colour, markerfacecolor="white", markersize=7)


if __name__ == "__main__":
    main(NAME, draw)
