"""Figure of memory, time and error of the gradient methods of several packages against the number of steps."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.style import COLOURS

NAME = "gradient_peers"
EXPERIMENT = "benchmarks.gradient_peers"

STYLES = ("o-", "s--", "^:")
"""Line styles of the methods of one package, in order."""
LEAST_ERROR = 1e-12
"""Smallest error shown: smaller ones are rounding errors of backpropagation or 0, which has no logarithm."""


def draw(record: Record) -> Figure:
    """Draw three log-log panels with a line for each gradient method."""
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    memory, time, error = figure.subplots(1, 3)
    ways, seconds = record.results["all ways"]["ways"], record.results["all ways"]["seconds"]
    seen: dict[str, int] = {}
    for way, found in ways.items():
        package = way.partition(",")[0]
        style = STYLES[seen.get(package, 0)]
        seen[package] = seen.get(package, 0) + 1
        taken = {steps: 1e3 * median(seconds[f"{way}|{steps}"]) for steps in found["peak_bytes"]}
        megabytes = {steps: each / 1e6 for steps, each in found["peak_bytes"].items()}
        wrong = {steps: each for steps, each in found["error"].items() if each > LEAST_ERROR}
        for axes, values in ((memory, megabytes), (time, taken), (error, wrong)):
            _line(axes, values, style, COLOURS[package], way.replace(",", ""))
    steps = [int(each) for each in next(iter(ways.values()))["peak_bytes"]]
    for axes, title, label in (
        (memory, "a   memory", "peak memory, MB"),
        (time, "b   time", "training step, ms"),
        (error, "c   error, where not 0", "relative error of the gradient"),
    ):
        axes.set(title=title, xlabel="Euler steps", ylabel=label, xscale="log", yscale="log")
        axes.set_xticks(steps, [str(each) for each in steps])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_formatter(NullFormatter())
    handles, _ = memory.get_legend_handles_labels()
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _line(axes: Axes, values: Mapping[str, float], style: str, colour: str, label: str) -> None:
    axes.plot([int(steps) for steps in values], list(values.values()), style, color=colour, label=label)


if __name__ == "__main__":
    main(NAME, draw, EXPERIMENT)
