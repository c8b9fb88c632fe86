"""Figure of the mAP of detectors on flows against evaluations, with other steppings than in training."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from odenet.training import Record
from paper_figs.detection import NETS
from paper_figs.segmentation_steps import over_steppings
from paper_figs.support.command import main
from paper_figs.support.style import COLOURS

NAME = "detection_steps"
EXPERIMENT = "detection"
SOLVERS = {"euler": "o", "midpoint": "s", "rk4": "^"}
STATISTICS: Mapping[str, tuple[Literal["-", ":", "--"], str, str]] = {
    "recalibrated": ("--", "#bbbbbb", "recalibrated"),
    "by_batch": ("-", "#444444", "normalized by batch"),
    "running": (":", "white", "running statistics"),
}
"""Line, colour of the markers and name of each kind of statistics, where a record has it."""


def draw(record: Record) -> Figure:
    """Draw a panel for each net; its leftmost circles are the stepping of its training."""
    nets = [name for name in NETS if f"seed{record.settings['seeds'][0]}/{name}/steppings" in record.results]
    figure = Figure(figsize=(1.6 + 2.2 * len(nets), 2.5), layout="constrained")
    panels = figure.subplots(1, len(nets), sharey=True, squeeze=False)[0]
    for axes, net, letter in zip(panels, nets, "abcdef", strict=False):
        kinds = [kind for kind in STATISTICS if kind in next(iter(over_steppings(record, net)[0].values()))]
        for solver in SOLVERS:
            for kind in kinds:
                _line(axes, record, net, solver, kind)
        axes.set(title=f"{letter}   {NETS[net]}", xlabel="evaluations of F", xscale="log", ylim=(0, 100))
        ticks = sorted({round(test["evaluations"]) for test in over_steppings(record, net)[0].values()})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
    panels[0].set_ylabel("mAP of boxes (%)")
    figure.legend(handles=_legend(record, nets), loc="outside right center")
    return figure


def _legend(record: Record, nets: list[str]) -> list[Line2D]:
    solvers = [Line2D([], [], marker=marker, color=COLOURS[name], label=name) for name, marker in SOLVERS.items()]
    present = over_steppings(record, nets[0])[0]["euler×1"] if nets else {}
    return solvers + [
        Line2D([], [], linestyle=line, color="#444444", marker="o", markerfacecolor=face, label=label)
        for kind, (line, face, label) in STATISTICS.items()
        if kind in present
    ]


def _line(axes: Axes, record: Record, net: str, solver: str, kind: str) -> None:
    tests = over_steppings(record, net)
    names = [name for name in tests[0] if name.partition("×")[0] == solver]
    evaluations = [fmean(float(test[name]["evaluations"]) for test in tests) for name in names]
    precisions = [100 * fmean(test[name][kind]["mAP"] for test in tests) for name in names]  # pyright: ignore
    line, face, _ = STATISTICS[kind]
    filled = COLOURS[solver] if kind == "by_batch" else face
    axes.plot(evaluations, precisions, line, color=COLOURS[solver], marker=SOLVERS[solver], markerfacecolor=filled)


if __name__ == "__main__":
    main(NAME, draw, EXPERIMENT)
