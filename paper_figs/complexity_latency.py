"""Figure of the measured time per image against batch size and operations, and of the energy where it is reported."""

from __future__ import annotations

from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.families import colour, written

NAME, EXPERIMENT = "complexity_latency", "complexity"

SAME_COST = ("plain", "googlenet")
"""Prefixes of nets that are left out since others have the same costs; of GoogLeNet, torchvision's is shown."""


def draw(record: Record) -> Figure:
    """Draw time, and energy if it was measured, like figures 3 and 9 of Canziani et al. 2016."""
    nets = nets_of(record)
    joules = {name: net for name, net in nets.items() if net["joules"] is not None}
    panels = 3 if joules else 2
    figure = Figure(figsize=(3.6 * panels, 3.6), layout="constrained")
    axes = figure.subplots(1, panels)
    _against_batch(axes[0], nets)
    _against_operations(axes[1], nets)
    if joules:
        _energy(axes[2], joules)
    return figure


def nets_of(record: Record) -> dict[str, dict[str, Any]]:
    """Return operations, milliseconds by batch size, and joules per image of each net that was timed."""
    found: dict[str, dict[str, Any]] = {}
    for key, result in record.results.items():
        kind, _, name = key.partition("/")
        if kind == "timed" and (name == "googlenet_bn" or not name.startswith(SAME_COST)):
            by_batch = {int(size): 1000 * taken / int(size) for size, taken in result["seconds"]["by_batch"].items()}
            operations = 2 * record.results[f"counted/{name}"]["multiply_adds"]
            found[name] = {"operations": operations, "ms": by_batch, "joules": result["seconds"]["joules"]}
    return found


def _against_batch(axes: Axes, nets: dict[str, dict[str, Any]]) -> None:
    for name, net in nets.items():
        axes.plot(list(net["ms"]), list(net["ms"].values()), "-o", color=colour(name), markersize=3)
    ends = {name: list(net["ms"].values())[-1] for name, net in nets.items()}
    last = max(size for net in nets.values() for size in net["ms"])
    axes.set(xscale="log", yscale="log")
    for name, y in _apart(ends).items():
        axes.annotate(written(name), (last, y), (5, 0), textcoords="offset points", va="center", fontsize=7)
    sizes = sorted({size for net in nets.values() for size in net["ms"]})
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlim(right=last * (last / sizes[0]) ** 0.4)
    _ticks_one_two_five(axes.yaxis)
    axes.set(xlabel="images in a batch", ylabel="time of an image (ms)", title="a   Time against batch size")


def _apart(heights: dict[str, float], factor: float = 1.16) -> dict[str, float]:
    """Move heights up where two labels would overlap on a logarithmic axis."""
    moved: dict[str, float] = {}
    lowest = 0.0
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        moved[name] = max(height, lowest)
        lowest = moved[name] * factor
    return moved


def _against_operations(axes: Axes, nets: dict[str, dict[str, Any]]) -> None:
    """Draw the times at the smallest and largest batch size, and a line of time proportional to the operations."""
    billions = {name: net["operations"] / 1e9 for name, net in nets.items()}
    ends = {name: (next(iter(net["ms"].values())), list(net["ms"].values())[-1]) for name, net in nets.items()}
    for name, (first, last) in ends.items():
        axes.plot([billions[name]] * 2, [first, last], color=colour(name), linewidth=0.8)
        axes.plot(billions[name], first, "o", color=colour(name), markerfacecolor="white")
        axes.plot(billions[name], last, "o", color=colour(name))
    rate = median(billions[name] / last for name, (_, last) in ends.items())
    span = [min(billions.values()), max(billions.values())]
    label = f"{1000 * rate:,.0f} G operations/s"
    axes.plot(span, [x / rate for x in span], color="black", linewidth=0.8, zorder=1, label=label)
    sizes = sorted({size for net in nets.values() for size in net["ms"]})
    axes.plot([], [], "o", color="black", markerfacecolor="white", label=f"batches of {sizes[0]}")
    axes.plot([], [], "o", color="black", label=f"batches of {sizes[-1]}")
    axes.legend(fontsize=7, loc="upper left")
    _logarithmic(axes)
    axes.set(
        xlabel="operations of an image (billions)", ylabel="time of an image (ms)", title="b   Time against operations"
    )


def _energy(axes: Axes, nets: dict[str, dict[str, Any]]) -> None:
    for name, net in nets.items():
        axes.plot(net["operations"] / 1e9, net["joules"], "o", color=colour(name))
        place = (net["operations"] / 1e9, net["joules"])
        axes.annotate(written(name), place, (5, 0), textcoords="offset points", va="center", fontsize=7)
    _logarithmic(axes)
    axes.set(xlabel="operations of an image (billions)", title="c   Energy", ylabel="joules of an image, largest batch")


def _logarithmic(axes: Axes) -> None:
    axes.set(xscale="log", yscale="log")
    axes.minorticks_off()
    _ticks_one_two_five(axes.xaxis)
    _ticks_one_two_five(axes.yaxis)


def _ticks_one_two_five(axis: Axis) -> None:
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))


if __name__ == "__main__":
    main(NAME, draw, EXPERIMENT)
