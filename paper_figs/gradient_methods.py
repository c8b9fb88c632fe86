"""Figure of error, memory and time of each gradient method over steps and over h, and of accuracy after training."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from experiments.support.statistics import over_seeds
from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.style import COLOURS

NAME = "gradient_methods"
LABELS = {
    "backprop": "Backprop",
    "checkpointed": "Checkpointed",
    "reversible": "Reversible, coupled Euler",
    "asynchronous_leapfrog": "Reversible, asynchronous leapfrog",
    "reversible_heun": "Reversible, reversible Heun",
    "adjoint": "ContinuousAdjoint",
}
SHORT = dict(
    zip(
        LABELS,
        ("Backprop", "Checkpointed", "coupled Euler", "asyn. leapfrog", "reversible Heun", "adjoint"),
        strict=True,
    )
)
"""Names of the methods beside the rows of the last panel."""
MARKERS = dict(zip(LABELS, "osD^vX", strict=True))


def draw(record: Record) -> Figure:
    """Draw six panels: a small flow in a to d, a residual stage in e, trained nets in f."""
    figure = Figure(figsize=(7.2, 4.9), layout="constrained")
    panels = figure.subplots(2, 3)
    (a, b, c), (d, e, f) = panels
    for name in LABELS:
        _line(a, record, "steps", name, "error")
        _line(b, record, "h", name, "error")
        _line(c, record, "steps", name, "megabytes")
        _line(d, record, "steps", name, "seconds", 1e3)
        _line(e, record, "conv", name, "megabytes")
    error = "relative error of the gradient"
    _describe(a, "a   Error over steps", "steps on [0, 2]", error, record.settings["steps"])
    _describe(b, "b   Error over h, 64 steps", "step size h", error, [T / 64 for T in record.settings["horizons"]])
    _describe(c, "c   Memory over steps", "steps on [0, 2]", "peak memory (MB)", record.settings["steps"])
    _describe(d, "d   Time over steps", "steps on [0, 2]", "there and back (ms)", record.settings["steps"])
    _describe(e, "e   Memory, residual stage", "steps on [0, 1]", "peak memory (MB)", record.settings["conv_steps"])
    _accuracies(f, record)
    handles, labels = a.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _line(axes: Axes, record: Record, kind: str, name: str, entry: str, scale: float = 1.0) -> None:
    found = [(key.split("/"), result) for key, result in record.results.items()]
    points = [
        (float(x), scale * r[entry]) for (what, who, *rest), r in found if (what, who) == (kind, name) for x in rest
    ]
    x, y = zip(*sorted(points), strict=True)
    style = "--" if name == "checkpointed" else "-"  # it coincides with backprop
    axes.plot(x, y, style, marker=MARKERS[name], color=COLOURS[name], label=LABELS[name], markersize=4, alpha=0.9)


def _describe(axes: Axes, title: str, x: str, y: str, ticks: list[float]) -> None:
    axes.set(title=title, xlabel=x, ylabel=y, xscale="log", yscale="log")
    ascending = sorted(ticks)
    crowded = {tick for tick, after in pairwise(ascending) if tick >= 100 and after < 3 * tick}
    shown = [tick for tick in ascending if tick not in crowded]
    axes.set_xticks(shown, [f"{tick:,.0f}" if tick >= 1 else f"1/{1 / tick:.0f}" for tick in shown])
    axes.tick_params(axis="x", which="minor", bottom=False)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
    if not y.startswith("relative"):
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _accuracies(axes: Axes, record: Record) -> None:
    for place, name in enumerate(reversed(LABELS)):
        shares = [100 * share for share in over_seeds(record.results, name, "accuracy")]
        axes.plot(shares, [place] * len(shares), MARKERS[name], color=COLOURS[name], alpha=0.7, markersize=4.5)
        axes.plot([fmean(shares)], [place], "|", color="black", markersize=12)
    axes.set(title="f   After training", xlabel="test accuracy (%)", ylim=(-0.6, len(LABELS) - 0.4))
    axes.set_yticks(range(len(LABELS)), list(reversed(SHORT.values())), fontsize=7)


if __name__ == "__main__":
    main(NAME, draw)
