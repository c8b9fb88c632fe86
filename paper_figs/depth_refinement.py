"""Figure of nets with more layers and smaller steps: their accuracies, and their distances from their flows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from experiments.support.statistics import over_seeds
from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.seeds import curve
from paper_figs.support.style import COLOURS

NAME = "depth_refinement"
STATISTICS = {
    "running": "BatchNorm, running statistics",
    "recalibrated": "BatchNorm, recalibrated",
    "none": "GroupNorm",
}
KINDS = {
    "scratch, independent": "from scratch, independent layers",
    "scratch, tied": "from scratch, equal layers",
    "refined": "from the coarser net",
}
RATES = {"one": "-", "scaled": "--"}


def draw(record: Record) -> Figure:
    """Draw three panels: the same weights with smaller steps, and accuracies and distances of nets with more layers."""
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    _same_weights(panels[0], record)
    for axes, entry in zip(panels[1:], ("accuracy", "distance"), strict=True):
        for net in _nets(record):
            _line(axes, record, net, entry)
    _describe(panels[1], record, "b   More layers: accuracy", "test accuracy (%)")
    _describe(panels[2], record, "c   More layers: distance", "distance from the flow (%)")
    _order_one(panels[2])
    figure.legend(handles=_legend(record), loc="outside lower center", ncols=3)
    return figure


def _same_weights(axes: Axes, record: Record) -> None:
    """Draw the accuracy of the coarsest net with smaller steps and as a flow, for each kind of statistics."""
    keys = [key for key in _keys(record) if key.endswith("independent-euler-one/scratch/level0")]
    for key in keys:
        answers = over_seeds(record.results, key, "answers")
        for statistics in answers[0]:
            ways = [*(way for way in answers[0][statistics] if way != "flow"), "flow"]
            samples = [[100 * each[statistics][way]["accuracy"] for each in answers] for way in ways]
            curve(axes, range(len(ways)), samples, "-o", color=COLOURS[statistics], label=STATISTICS[statistics])
            axes.set_xticks(range(len(ways)), [*(_step(int(way.partition("×")[2])) for way in ways[:-1]), "flow"])
    axes.set(title="a   The same weights", xlabel="step h", ylabel="test accuracy (%)")
    axes.legend(fontsize=7, loc="best")


def _nets(record: Record) -> list[tuple[str, str, str]]:
    """Return the kinds of nets: BatchNorm (or GroupNorm without it), kind of start, and rate."""
    found = dict.fromkeys(
        (cell.split("-")[0], f"{kind}, {cell.split('-')[1]}" if kind == "scratch" else kind, cell.split("-")[3])
        for cell, kind, level in (key.split("/") for key in _keys(record))
        if level != "level0"
    )
    return sorted(found)


def _line(axes: Axes, record: Record, net: tuple[str, str, str], entry: str) -> None:
    """Draw the mean of an entry over h for a kind of net, with a band of one standard deviation."""
    normalization, kind, rates = net
    points: dict[int, list[float]] = {}
    for key in _keys(record):
        if _belongs(key, net):
            level = int(key.rpartition("/level")[2])
            answers = over_seeds(record.results, key, "answers")
            points[level] = [100 * (each.get("recalibrated") or each["none"])["euler×1"][entry] for each in answers]
    levels = sorted(points)
    hollow: dict[str, Any] = {"markerfacecolor": "white"} if normalization == "group" else {}
    samples = [points[level] for level in levels]
    curve(
        axes, levels, samples, RATES[rates] + ("s" if normalization == "group" else "o"), color=COLOURS[kind], **hollow
    )


def _belongs(key: str, net: tuple[str, str, str]) -> bool:
    """Whether a result is one of this kind of net; each kind begins at the coarsest net, of h = 1."""
    normalization, kind, rates = net
    cell, found, level = key.split("/")
    of_norm, initialization, _, of_rates = cell.split("-")
    if normalization != of_norm:
        return False
    if level == "level0":
        return initialization == "independent"
    return rates == of_rates and kind in (found, f"{found}, {initialization}")


def _describe(axes: Axes, record: Record, title: str, label: str) -> None:
    levels = sorted({int(key.rpartition("/level")[2]) for key in _keys(record)})
    axes.set_xticks(levels, [_step(2**level) for level in levels])
    axes.set(title=title, xlabel="step h  (smaller: more layers)", ylabel=label)


def _order_one(axes: Axes) -> None:
    """Draw a line of order 1 below the distances, which are on a logarithmic axis."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    low, last = axes.get_ylim()[0], max(line.get_xdata()[-1] for line in axes.lines)  # pyright: ignore
    axes.plot([0, last], [low * 2**last, low], color="black", linewidth=0.8)
    middle = (last / 2, low * 2 ** (last / 2))
    axes.annotate("order 1", middle, xytext=(-4, -4), textcoords="offset points", ha="right", va="top")


def _legend(record: Record) -> list[Line2D]:
    nets = _nets(record)
    line: Callable[..., Line2D] = lambda label, **style: Line2D([], [], label=label, **style)  # noqa: E731
    kinds = [line(KINDS[kind], color=COLOURS[kind]) for kind in KINDS if any(net[1] == kind for net in nets)]
    norms = [line("BatchNorm, recalibrated", color="black", marker="o", linestyle="")]
    norms += [line("GroupNorm", color="black", marker="s", linestyle="", markerfacecolor="white")]
    rates = [line("one learning rate", color="black"), line("rate × 1/h", color="black", linestyle="--")]
    return [*kinds, *norms, *(rates if any(net[2] == "scaled" for net in nets) else [])]


def _keys(record: Record) -> list[str]:
    return list(dict.fromkeys(key.partition("/")[2] for key in record.results))


def _step(times: int) -> str:
    return "1" if times == 1 else f"1/{times}"


if __name__ == "__main__":
    main(NAME, draw)
