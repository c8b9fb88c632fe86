"""Figure of error and training time of residual nets with stochastic depth and with constant depth."""

from __future__ import annotations

from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from experiments.stochastic_depth import savings
from experiments.support.statistics import evaluated, over_seeds
from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.seeds import curve, points
from paper_figs.support.style import COLOURS

NAME = "stochastic_depth"
MARKERS = "so^Dv"
"""Markers for the values of p_L, in the order of the settings."""


def draw(record: Record) -> Figure:
    """Draw curves of the deepest net, errors over depth, and time saved over blocks skipped."""
    figure = Figure(figsize=(7.2, 3.1), layout="constrained")
    curves, errors, times = figure.subplots(1, 3)
    for last in record.settings["survival"]:
        _curves(curves, record, last)
        _errors(errors, record, last)
        if last < 1:
            _times(times, record, last)
    deepest = max(_depths(record))
    curves.set(title=f"a   {deepest} layers", xlabel="epoch", ylabel="error (%)")
    curves.xaxis.set_major_locator(MaxNLocator(integer=True))
    errors.set(title="b   After training", xlabel="layers", ylabel="error (%)", xticks=_depths(record))
    errors.margins(x=0.2)
    _describe_times(times)
    figure.legend(handles=_legend(record), loc="outside lower center", ncols=4, handlelength=2.4)
    return figure


def _depths(record: Record) -> list[int]:
    return [6 * blocks + 2 for blocks in record.settings["blocks"]]


def _colour(last: float) -> str:
    return COLOURS["resnet" if last == 1 else "stochastic_depth"]


def _marker(record: Record, last: float) -> str:
    return MARKERS[record.settings["survival"].index(last) % len(MARKERS)]


def _curves(axes: Axes, record: Record, last: float) -> None:
    """Draw the running training error (solid) and error on unseen images (dotted) of the deepest net over epochs."""
    histories = over_seeds(record.results, f"p{last:g}/{max(_depths(record))}", "history")
    epochs = [row["epoch"] for row in histories[0]]
    running = [[row["train_accuracy"] for row in rows] for rows in histories]
    for accuracies, form, face in ((running, "-", _colour(last)), (map(evaluated, histories), ":", "white")):
        samples = [[100 - 100 * a for a in over] for over in zip(*accuracies, strict=True)]
        style = {"color": _colour(last), "markerfacecolor": face, "markersize": 4}
        curve(axes, epochs, samples, form + _marker(record, last), **style)


def _errors(axes: Axes, record: Record, last: float) -> None:
    """Draw training errors (filled) and test errors (hollow), both in evaluation mode, over the number of layers."""
    for entry, form, face in (("train_error", "-", _colour(last)), ("test_error", ":", "white")):
        samples = [
            [100 * error for error in over_seeds(record.results, f"p{last:g}/{layers}", entry)]
            for layers in _depths(record)
        ]
        style = {"color": _colour(last), "markerfacecolor": face}
        points(axes, _depths(record), samples, form + _marker(record, last), **style)


def _times(axes: Axes, record: Record, last: float) -> None:
    """Draw the share of time saved over the share of blocks skipped, per depth, with the range over seeds as bars."""
    for layers in _depths(record):
        key = f"p{last:g}/{layers}"
        saved = [100 * share for share in savings(record, key)]
        skipped, middle = 100 * over_seeds(record.results, key, "expected_saving")[0], fmean(saved)
        axes.errorbar(
            [skipped],
            [middle],
            [[middle - min(saved)], [max(saved) - middle]],
            fmt=_marker(record, last),
            color=_colour(last),
            zorder=3,
        )
        axes.annotate(f"{layers} layers", (skipped, middle), xytext=(5, -10), textcoords="offset points", fontsize=7)


def _describe_times(axes: Axes) -> None:
    right = max(50.0, 1.4 * axes.get_xlim()[1])
    axes.plot([0, right], [0, right], color="black", linewidth=0.8)
    middle = (0.6 * right, 0.6 * right)
    axes.annotate("as much\nas skipped", middle, xytext=(-6, 0), textcoords="offset points", ha="right")
    axes.set(title="c   Training time", xlabel="blocks skipped (%), expected", ylabel="time saved (%)", xlim=(0, right))
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), max(right, axes.get_ylim()[1]))


def _legend(record: Record) -> list[Line2D]:
    nets = [
        Line2D(
            [],
            [],
            color=_colour(last),
            marker=_marker(record, last),
            label="constant depth" if last == 1 else f"stochastic depth, $p_L$ = {last:g}",
        )
        for last in record.settings["survival"]
    ]
    training = Line2D([], [], color="black", marker="o", label="training images")
    test = Line2D([], [], color="black", marker="o", linestyle=":", markerfacecolor="white", label="unseen images")
    return [*nets, training, test]


if __name__ == "__main__":
    main(NAME, draw)
