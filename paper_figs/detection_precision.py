"""Figure of precision against recall of the boxes that each detector finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.support.statistics import over_seeds
from odenet.training import Record
from paper_figs.detection import NETS
from paper_figs.support.command import main

NAME = "detection_precision"
EXPERIMENT = "detection"
BACKBONES: Mapping[str, str] = {"plain": "#D55E00", "flows": "#0072B2", "group_norm": "#009E73", "mixed": "#CC79A7"}
"""Colour of each backbone."""


def draw(record: Record) -> Figure:
    """Draw a panel for each kind of detector: solid at the threshold 0.5 of intersection over union, dashed at 0.75."""
    heads = [head for head in ("fcos", "mask_rcnn") if any(n.startswith(head) for n in record.settings["nets"])]
    figure = Figure(figsize=(1.2 + 2.4 * len(heads), 2.4), layout="constrained")
    panels = figure.subplots(1, len(heads), sharey=True, squeeze=False)[0]
    for axes, head, letter in zip(panels, heads, "ab", strict=False):
        nets = [name for name in NETS if name in record.settings["nets"] and name.startswith(head)]
        for name in nets:
            _curves(axes, record, name)
        title = {"fcos": "FCOS", "mask_rcnn": "Mask R-CNN"}[head]
        axes.set(title=f"{letter}   {title}", xlabel="recall (%)", xlim=(0, 100), ylim=(0, 102))
    panels[0].set_ylabel("precision (%)")
    shown = [name for name in BACKBONES if any(net.endswith(name) for net in record.settings["nets"])]
    lines = [Line2D([], [], color=BACKBONES[name], label=name.replace("_", " ")) for name in shown]
    lines += [Line2D([], [], color="#444444", linestyle=line, label=f"IoU ≥ {at}") for at, line in _LINES.items()]
    figure.legend(handles=lines, loc="outside right center")
    return figure


_LINES: dict[str, Literal["-", "--"]] = {"0.50": "-", "0.75": "--"}


def _curves(axes: Axes, record: Record, name: str) -> None:
    colour = next(colour for backbone, colour in BACKBONES.items() if name.endswith(backbone))
    for at, line in _LINES.items():
        curves = [curve[at] for curve in over_seeds(record.results, name, "curves")]
        precision = 100 * np.mean(curves, axis=0)
        axes.plot(np.linspace(0, 100, len(precision)), precision, line, color=colour, linewidth=1.2)


if __name__ == "__main__":
    main(NAME, draw, EXPERIMENT)
