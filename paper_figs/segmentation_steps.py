"""Figure of the mean IoU of segmentation nets of flows against evaluations, with other steppings than in training."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from odenet.training import Record
from paper_figs.segmentation import NETS
from paper_figs.support.command import main
from paper_figs.support.seeds import curve
from paper_figs.support.style import COLOURS

NAME = "segmentation_steps"
EXPERIMENT = "segmentation"
SOLVERS = {"euler": "o", "midpoint": "s", "rk4": "^", "dopri5": "D"}
STATISTICS: Mapping[str, tuple[Literal["-", ":"], bool, str]] = {
    "by_batch": ("-", True, "normalized by batch"),
    "mean_iou": (":", False, "running statistics"),
}


def draw(record: Record) -> Figure:
    """Draw a panel for each net; its leftmost circles are the stepping of its training."""
    nets = [name for name in NETS if f"seed{record.settings['seeds'][0]}/{name}/steppings" in record.results]
    figure = Figure(figsize=(1.6 + 2.8 * len(nets), 2.6), layout="constrained")
    panels = figure.subplots(1, len(nets), sharey=True, squeeze=False)[0]
    for axes, net, letter in zip(panels, nets, "abc", strict=False):
        for solver in SOLVERS:
            _solver(axes, record, net, solver)
        axes.set(title=f"{letter}   {NETS[net]}", xlabel="evaluations of F", xscale="log")
        ticks = sorted({round(tick) for solver in SOLVERS for tick in _points(record, net, solver, "mean_iou")[0]})
        shown = [*ticks[:4], ticks[-1]]  # the last is that of dopri5
        axes.set_xticks(shown, [str(tick) for tick in shown])
        axes.minorticks_off()
    panels[0].set_ylabel("mean IoU (%)")
    figure.legend(handles=_legend(), loc="outside right center")
    return figure


def _legend() -> list[Line2D]:
    solvers = [Line2D([], [], marker=marker, color=COLOURS[name], label=name) for name, marker in SOLVERS.items()]
    white = {True: "#444444", False: "white"}
    return solvers + [
        Line2D([], [], linestyle=line, color="#444444", marker="o", markerfacecolor=white[filled], label=label)
        for line, filled, label in STATISTICS.values()
    ]


def _solver(axes: Axes, record: Record, net: str, solver: str) -> None:
    for statistics, (line, filled, _) in STATISTICS.items():
        colour, marker = COLOURS[solver], SOLVERS[solver]
        face = colour if filled else "white"
        style = {"color": colour, "marker": marker, "markerfacecolor": face}
        curve(axes, *_points(record, net, solver, statistics), line, **style)


def _points(record: Record, net: str, solver: str, statistics: str) -> tuple[list[float], list[list[float]]]:
    """Return the mean evaluations, and the percentages of the seeds, for every number of steps."""
    tests = over_steppings(record, net)
    names = [name for name in tests[0] if name.partition("×")[0] == solver]
    evaluations = [fmean(test[name]["evaluations"] for test in tests) for name in names]
    return evaluations, [[100 * test[name][statistics] for test in tests] for name in names]


def over_steppings(record: Record, net: str) -> list[dict[str, dict[str, float]]]:
    """Return the results of a net under other steppings, one for each seed."""
    return [record.results[f"seed{seed}/{net}/steppings"] for seed in record.settings["seeds"]]


if __name__ == "__main__":
    main(NAME, draw, EXPERIMENT)
