"""Figure of accuracy against operations, parameters, memory and time of small nets with the same training."""

from __future__ import annotations

from statistics import fmean, stdev
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.families import colour, written

NAME = "complexity"
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "p", "*", "h", "<", ">")
"""Markers of the nets, in the order of their operations."""
ERRORS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90)
"""Errors in percent at which the axis of accuracy has ticks."""


class Net(NamedTuple):
    """A trained net with its accuracy over the seeds and its costs per image."""

    name: str
    epochs: int
    accuracy: float
    spread: float
    costs: dict[str, float]


COSTS = {
    "a   Operations": ("multiply_adds", "operations of an image (millions)", 2e-6),
    "b   Parameters": ("parameters", "parameters (thousands)", 1e-3),
    "c   Memory in training": ("activation_bytes", "memory of an image in training (MB)", 1e-6),
    "d   Time": ("seconds_per_image", "time of an image (ms)", 1e3),
}
"""Entry of the results, axis label and scale of each panel, by title."""


def draw(record: Record) -> Figure:
    """Draw a panel for each cost, with the nets trained for as long; dotted lines show one without layers and the best.

    The axis is one of the error, on a logarithmic scale, labelled by accuracy.
    """
    figure = Figure(figsize=(7.2, 6.0), layout="constrained")
    nets = sorted(nets_of(record), key=lambda net: net.costs["multiply_adds"])
    usual = record.settings["training"]["epochs"]
    alike = [net for net in nets if net.name != "linear" and net.epochs == usual]
    panels = figure.subplots(2, 2, sharey=True)
    for axes, (title, (entry, label, unit)) in zip(panels.flat, COSTS.items(), strict=True):
        for net, marker in zip(alike, MARKERS * len(alike), strict=False):
            _mark(axes, net, marker, unit * net.costs[entry])
        for net in nets:  # the costs of linear, a thousandth of the others', would stretch the axis
            if net not in alike:
                label_of = f"{written(net.name)}, {net.epochs} epochs"
                axes.axhline(100 - net.accuracy, color=colour(net.name), linestyle=":", linewidth=1.4, label=label_of)
        axes.set(xscale="log", yscale="log", xlabel=label, title=title)
        axes.minorticks_off()
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.margins(x=0.1, y=0.08)
    shown = [error for error in ERRORS if _between(error, panels[0, 0])]
    panels[0, 0].set_yticks(shown, [f"{100 - error:g}" for error in shown])
    panels[0, 0].invert_yaxis()
    for axes in panels[:, 0]:
        axes.set_ylabel(f"test accuracy (%), {record.settings['data']}")
    handles, labels = panels.flat[-1].get_legend_handles_labels()
    seeds = len(record.settings["seeds"])
    title = f"{usual} epochs, {seeds} seed{'s' if seeds > 1 else ''}"
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=7.5, title=title, title_fontsize=7.5)
    return figure


def _between(error: float, axes: Axes) -> bool:
    low, high = sorted(axes.get_ylim())
    return low <= error <= high


def nets_of(record: Record) -> list[Net]:
    """Return the trained nets, averaged over the seeds."""
    seeds: dict[str, list[dict[str, Any]]] = {}
    for key, result in record.results.items():
        if key.startswith("seed"):
            seeds.setdefault(key.partition("/")[2], []).append(result)
    return [_net(results) for results in seeds.values()]


def _net(results: list[dict[str, Any]]) -> Net:
    accuracies = [100 * result["accuracy"] for result in results]
    costs = {entry: fmean(result[entry] for result in results) for entry, _, _ in COSTS.values()}
    spread = stdev(accuracies) if len(results) > 1 else 0.0
    return Net(results[0]["net"], results[0]["epochs"], fmean(accuracies), spread, costs)


def _mark(axes: Axes, net: Net, marker: str, x: float) -> None:
    """Draw a point in the colour of the family, hollow where another may cover it, with the deviation over seeds."""
    shade, plain = colour(net.name), net.name.startswith(("plain", "rk_net"))
    style = {"color": shade, "markerfacecolor": "white" if plain else shade, "markersize": 9 if plain else 6.5}
    spread = net.spread or None
    axes.errorbar(x, 100 - net.accuracy, spread, fmt=marker, linewidth=1, label=written(net.name), **style)


if __name__ == "__main__":
    main(NAME, draw)
