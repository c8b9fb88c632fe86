"""Figure of the mean IoU of segmentation nets against their costs: parameters, multiply-adds, time."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.support.statistics import over_seeds
from odenet.training import Record
from paper_figs.claims.claim import mean, percent
from paper_figs.segmentation import NETS
from paper_figs.support.command import main
from paper_figs.support.style import COLOURS

NAME = "segmentation_costs"
EXPERIMENT = "segmentation"
MARKERS = dict(zip(NETS, "XvD^os*P", strict=True))


def draw(record: Record) -> Figure:
    """Draw three panels with a common IoU axis; a small mark for each seed, a large one for the mean."""
    nets = [name for name in NETS if name in record.settings["nets"]]
    seconds = record.results["times"]["seconds"]
    costs = {
        "a   Parameters": ("thousands", {n: over_seeds(record.results, n, "parameters")[0] / 1e3 for n in nets}),
        "b   Multiply-adds": ("millions", {n: over_seeds(record.results, n, "multiply_adds")[0] / 1e6 for n in nets}),
        "c   Forward pass": ("milliseconds", {name: 1000 * seconds[name] for name in nets}),
    }
    figure = Figure(figsize=(7.2, 2.7), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for axes, (title, (unit, cost)) in zip(panels, costs.items(), strict=True):
        for name in nets:
            _net(axes, record, name, cost[name])
        axes.set(title=title, xlabel=unit, xlim=(-0.07 * max(cost.values()), 1.1 * max(cost.values())))
    seeds = len(record.settings["seeds"])
    panels[0].set_ylabel(f"mean IoU (%), {seeds} seed{'s' if seeds > 1 else ''}")
    panels[0].margins(y=0.1)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _net(axes: Axes, record: Record, name: str, cost: float) -> None:
    values = percent(record, name, "mean_iou")
    style: dict[str, Any] = {
        "color": COLOURS[name],
        "marker": MARKERS[name],
        "linestyle": "none",
        "markeredgecolor": "#444444",
    }
    axes.plot([cost] * len(values), values, markersize=2.5, alpha=0.5, **style)
    axes.plot(cost, mean(record, name, "mean_iou"), markersize=7, markeredgewidth=0.5, label=NETS[name], **style)


if __name__ == "__main__":
    main(NAME, draw, EXPERIMENT)
