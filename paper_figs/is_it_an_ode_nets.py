"""Figure of the nets of `is_it_an_ode` side by side: a row for each net, a panel for each measurement."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import StrMethodFormatter

from experiments.support.ode_report import flat
from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.style import COLOURS

NAME, EXPERIMENT = "is_it_an_ode_nets", "is_it_an_ode"
UNRELATED = 2**0.5
"""Roughness of independent nodes."""
WORDS = {
    "batch": "BatchNorm",
    "group": "GroupNorm",
    "independent": "independent",
    "tied": "equal",
    "euler": "Euler",
    "mixed": "mixed",
    "one": "lr",
    "scaled": "lr/h",
}


def draw(record: Record) -> Figure:
    """Draw distance and agreement before and after recalibration, roughness of θ, and lesions: a point a seed."""
    names = list(dict.fromkeys(key.split("/")[1] for key in record.results))
    figure = Figure(figsize=(7.2, 1.4 + 0.2 * len(names)), layout="constrained")
    panels = figure.subplots(1, 4, sharey=True)
    _answers(panels[0], record, names, "distance")
    _answers(panels[1], record, names, "agreement")
    _points(panels[2], record, names, "smoothness", lambda found: fmean(flat(found["theta"])))
    _points(panels[3], record, names, "lesions", lambda found: 100 * fmean(flat(found["dropped"])))
    panels[0].set(title="a   Distance from\nthe flow (%)", xscale="log")
    for bound in (2, 10):
        panels[0].axvline(bound, color="black", linewidth=0.8, linestyle=":")
    panels[1].set(title="b   Same answers\nas the flow (%)")
    panels[2].set(title="c   Roughness\nof θ", xlim=(-0.05, 1.6))
    panels[2].axvline(UNRELATED, color="black", linewidth=0.8, linestyle=":")
    panels[3].set(title="d   Effect of a\nlost layer (%)", xscale="log")
    for axes in (panels[0], panels[3]):
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panels[0].set_yticks(range(len(names)), [_label(name) for name in names])
    panels[0].invert_yaxis()
    handles = [
        Line2D([], [], linestyle="", marker="o", color=COLOURS["recalibrated"], label="recalibrated, or GroupNorm"),
        Line2D([], [], linestyle="", marker="o", color=COLOURS["running"], label="BatchNorm's running statistics"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _label(name: str) -> str:
    """Return a net's name in words: the choice of each factor, or the name of a control."""
    parts = name.split("-")
    return ", ".join(WORDS[part] for part in parts) if all(part in WORDS for part in parts) else name


def _found(record: Record, name: str, question: str) -> list[Any]:
    """Return the answers to a question of one net: one for each seed."""
    return [result for key, result in record.results.items() if key.split("/")[1:] == [name, question]]


def _answers(axes: Axes, record: Record, names: list[str], entry: str) -> None:
    for kinds, colour, shift in ((("running",), "running", 0.2), (("recalibrated", "none"), "recalibrated", -0.1)):
        for place, name in enumerate(names):
            found = _found(record, name, "answers")
            values = [100 * each[kind]["own"][entry] for each in found for kind in kinds if kind in each]
            _seeds(axes, values, place + shift, colour)


def _points(axes: Axes, record: Record, names: list[str], question: str, value: Callable[[Any], float]) -> None:
    for place, name in enumerate(names):
        _seeds(axes, [value(each) for each in _found(record, name, question)], place, "recalibrated")


def _seeds(axes: Axes, values: list[float], place: float, colour: str) -> None:
    """Draw a point for each seed, and a line at their mean."""
    axes.plot(values, [place] * len(values), "o", color=COLOURS[colour], markersize=3.5, alpha=0.6, markeredgewidth=0)
    if values:
        axes.plot([fmean(values)] * 2, [place - 0.3, place + 0.3], color=COLOURS[colour], linewidth=1.5)


if __name__ == "__main__":
    main(NAME, draw, EXPERIMENT)
