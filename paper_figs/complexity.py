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
from paper_figs.support.style import COLOURS

NAME = "complexity"
AREA = 1e3
"""Number of parameters per square point of a disc's area."""


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
    """Draw a panel for each cost, with numbered nets; in the first, a disc's area shows the number of parameters."""
    figure = Figure(figsize=(7.2, 6.0), layout="constrained")
    nets = sorted(nets_of(record), key=lambda net: net.costs["multiply_adds"])
    deep = [net for net in nets if net.name != "linear"]
    panels = figure.subplots(2, 2, sharey=True)
    for axes, (title, (entry, label, unit)) in zip(panels.flat, COSTS.items(), strict=True):
        for number, net in enumerate(deep, 1):
            _mark(axes, net, number, unit * net.costs[entry], disc=entry == "multiply_adds")
        for net in nets:
            if net.name == "linear":  # its costs, a thousandth of the others', would stretch the axis
                axes.axhline(net.accuracy, color=COLOURS["linear"], linestyle=":", linewidth=1, label="linear")
        axes.set(xscale="log", xlabel=label, title=title)
        axes.minorticks_off()
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.margins(x=0.1, y=0.1)
    for axes in panels[:, 0]:
        axes.set_ylabel(f"test accuracy (%), {record.settings['data']}")
    handles, labels = panels.flat[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=7.5)
    return figure


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


def _mark(axes: Axes, net: Net, number: int, x: float, *, disc: bool) -> None:
    """Draw a numbered point in the colour of the net's family, with a bar for the deviation over seeds."""
    shade = colour(net.name)
    if disc:
        axes.scatter(x, net.accuracy, s=net.costs["parameters"] / AREA, color=shade, alpha=0.3, linewidth=0)
    label = f"{number}  {written(net.name)}, {net.epochs} epoch{'s' if net.epochs > 1 else ''}"
    axes.errorbar(x, net.accuracy, net.spread or None, fmt="o", color=shade, markersize=8, linewidth=1, label=label)
    axes.annotate(
        str(number), (x, net.accuracy), ha="center", va="center_baseline", color="white", fontsize=6, zorder=5
    )


if __name__ == "__main__":
    main(NAME, draw)
