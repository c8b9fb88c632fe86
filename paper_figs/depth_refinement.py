"""Figure of accuracy and of the distance from the exact flow over h, for nets with more and smaller steps."""

from __future__ import annotations

from statistics import fmean, stdev
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.style import COLOURS

NAME = "depth_refinement"
LABELS = {
    "scratch": "trained from scratch",
    "refined": "trained from the coarser net",
    "steps": "coarsest net, only smaller steps",
}
Curve = list[tuple[float, float, float]]
"""Points (x, mean, standard deviation over seeds)."""


def draw(record: Record) -> Figure:
    """Draw accuracies of the nets, as trained and as ODE-Nets, and the distance of each net from its own exact flow."""
    figure = Figure(figsize=(7.2, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for kind in LABELS:
        _line(left, _curve(record, kind, "step", "accuracy", 100), kind, "-o")
        if kind != "steps":  # all of these nets have the θ(t) of the coarsest one
            _line(left, _curve(record, kind, "step", "ode_accuracy", 100), kind, ":s", hollow=True)
        _line(right, _curve(record, kind, "step", "distance", 100), kind, "-o")
    _describe_accuracy(left, record)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    _describe_distance(right, _curve(record, "refined", "step", "distance", 100))
    return figure


def _curve(record: Record, kind: str, x: str, y: str, scale: float) -> Curve:
    """Return the curve of a kind of net; each kind starts at the coarsest net, which was trained from scratch."""
    points: dict[float, list[float]] = {}
    for key, result in record.results.items():
        _, found, level = key.split("/")
        if found == kind or (kind != "scratch" and found == "scratch" and level == "level0"):
            points.setdefault(result[x], []).append(scale * result[y])
    return [(h, fmean(v), stdev(v) if len(v) > 1 else 0.0) for h, v in sorted(points.items(), reverse=True)]


def _line(axes: Axes, curve: Curve, kind: str, form: str, hollow: bool = False) -> None:
    x, mean, spread = zip(*curve, strict=True)
    colour = COLOURS[kind]
    face: Any = "white" if hollow else colour
    axes.plot(x, mean, form, color=colour, markerfacecolor=face, label=None if hollow else LABELS[kind], zorder=3)
    low = [m - s for m, s in zip(mean, spread, strict=True)]
    high = [m + s for m, s in zip(mean, spread, strict=True)]
    axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)


def _describe_accuracy(axes: Axes, record: Record) -> None:
    axes.plot([], [], ":s", color="black", markerfacecolor="white", label="the same weights under dopri5")
    axes.set(xlabel="step size h  (smaller: more layers)", ylabel="test accuracy (%)", title="a   What the nets score")
    axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]), top=100.5)
    _depth_axis(axes, {result["step"] for result in record.results.values()})


def _describe_distance(axes: Axes, refined: Curve) -> None:
    (h0, d0, _), (h1, *_) = refined[0], refined[-1]
    axes.plot([h0, h1], [0.6 * d0, 0.6 * d0 * h1 / h0], color="black", linewidth=0.8, zorder=2)
    axes.annotate("order 1", (h1, 0.6 * d0 * h1 / h0), xytext=(-30, -2), textcoords="offset points", ha="right")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set(xlabel="step size h", ylabel="distance from the exact flow (%)", title="b   How far each is from an ODE")
    _depth_axis(axes, {h for h, *_ in refined})


def _depth_axis(axes: Axes, steps: set[float]) -> None:
    """Format the x axis: h from large to small, with a tick for each step size."""
    ticks = sorted(steps, reverse=True)
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, ["1" if h == 1 else f"1/{round(1 / h)}" for h in ticks])
    axes.minorticks_off()
    axes.invert_xaxis()


if __name__ == "__main__":
    main(NAME, draw)
