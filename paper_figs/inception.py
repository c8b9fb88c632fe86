"""Figure of multiply-adds, time and memory of naive and bottleneck Inception modules, and of GoogLeNet with each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.style import COLOURS

NAME = "inception"
WHOLE = "GoogLeNet"
KINDS = {"naive": "naive module", "bottleneck": "with 1×1 bottlenecks"}


class Cost(NamedTuple):
    """A cost, which has a row of panels."""

    title: str
    unit: str
    of: Callable[[dict[str, Any], str, int], float]
    """Function that computes the cost of an image from a result, a kind of module and the batch size."""


COSTS = (
    Cost("a   Multiply-adds of an image", "millions", lambda r, kind, _: r[kind]["multiply_adds"] / 1e6),
    Cost("b   Time of a training step", "ms an image", lambda r, kind, n: 1e3 * r["seconds_training"][kind] / n),
    Cost("c   Memory kept for the backward pass", "MB an image", lambda r, kind, _: r[kind]["activation_bytes"] / 1e6),
)


def draw(record: Record) -> Figure:
    """Draw a row for each cost: the modules on the left, and the whole net, with its own scale, on the right."""
    figure = Figure(figsize=(7.2, 5.6), layout="constrained")
    rows = figure.subplots(len(COSTS), 2, width_ratios=[9, 1.4])
    modules = [name for name in record.results if name != WHOLE]
    for (left, right), cost in zip(rows, COSTS, strict=True):
        _bars(left, record, modules, cost, record.settings["batch"])
        _bars(right, record, [WHOLE], cost, record.settings["whole_batch"])
        left.set_title(cost.title)
        left.set_ylabel(cost.unit)
    figure.legend(*rows[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _bars(axes: Axes, record: Record, names: list[str], cost: Cost, batch: int) -> None:
    """Draw a pair of bars for each module, and above them the change by the bottlenecks."""
    for shift, (kind, label) in zip((-0.2, 0.2), KINDS.items(), strict=True):
        heights = [cost.of(record.results[name], kind, batch) for name in names]
        axes.bar([x + shift for x in range(len(names))], heights, 0.38, color=COLOURS[kind], label=label, zorder=3)
    for x, name in enumerate(names):
        naive, bottleneck = (cost.of(record.results[name], kind, batch) for kind in KINDS)
        change = f"{100 * (bottleneck / naive - 1):+.0f} %".replace("-", "\N{MINUS SIGN}")
        axes.annotate(change, (x, max(naive, bottleneck)), (0, 2), textcoords="offset points", ha="center", fontsize=7)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.margins(y=0.15)
    axes.grid(axis="x", visible=False)


if __name__ == "__main__":
    main(NAME, draw)
