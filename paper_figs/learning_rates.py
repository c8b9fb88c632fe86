"""Figure of the loss over the learning rate, for each rule of scaling with depth and each number of layers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.learning_rates import best, losses
from odenet.training import Record
from paper_figs.support.command import main

NAME = "learning_rates"
TRAINED = {"all": "all parameters trained", "flow": "flow alone trained"}
TITLES = {"none": "SGD, no rule", "1/h": "SGD, 1/h", "1/sqrt(L)": "SGD, 1/√L (T = √L)", "completep": "AdamW, CompleteP"}


def draw(record: Record) -> Figure:
    """Draw a panel for each set of trained parameters and each rule, with a curve for each depth and its minimum."""
    rules, trained = record.settings["rules"], record.settings["trained"]
    figure = Figure(figsize=(1.1 + 1.75 * len(rules), 0.9 + 1.9 * len(trained)), layout="constrained")
    every = figure.subplots(len(trained), len(rules), squeeze=False, sharex="col", sharey=True)
    for row, part in zip(every, trained, strict=True):
        for axes, rule in zip(row, rules, strict=True):
            _panel(axes, record, part, rule)
        row[0].set_ylabel(f"{TRAINED[part]}\ntraining loss")
    for axes, rule in zip(every[0], rules, strict=True):
        axes.set_title(TITLES[rule])
    for axes in every[-1]:
        axes.set_xlabel("learning rate")
    lowest = min(fmean(curve[best(curve)]) for curve in _curves(record))
    every[0][0].set_ylim(0.6 * lowest, 4.0)  # a loss above that of guessing (2.3 for ten classes) is left out
    figure.legend(*every[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=6, title="layers L")
    return figure


def _curves(record: Record) -> list[dict[float, list[float]]]:
    trained, rules, depths = (record.settings[name] for name in ("trained", "rules", "pieces"))
    return [losses(record, part, rule, pieces) for part in trained for rule in rules for pieces in depths]


def _panel(axes: Axes, record: Record, trained: str, rule: str) -> None:
    depths = record.settings["pieces"]
    for place, pieces in enumerate(depths):
        colour = mpl.colormaps["viridis"](0.9 * (1 - place / max(1, len(depths) - 1)))
        curve = losses(record, trained, rule, pieces)
        _curve(axes, curve, colour, str(pieces))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    rates = sorted(losses(record, trained, rule, depths[0]))
    ticks = rates[:: max(1, math.ceil(len(rates) / 4))]
    axes.set_xticks(ticks, [f"{rate:.2g}" for rate in ticks])
    axes.minorticks_off()
    axes.set_yticks([0.03, 0.1, 0.3, 1, 3], ["0.03", "0.1", "0.3", "1", "3"])


def _curve(axes: Axes, by_rate: Mapping[float, list[float]], colour: tuple[float, ...], label: str) -> None:
    """Draw the mean loss with the range of the seeds, and a disc at the best learning rate."""
    finite = {rate: values for rate, values in by_rate.items() if all(map(math.isfinite, values))}
    means = [fmean(values) for values in finite.values()]
    axes.plot(list(finite), means, "-", color=colour, label=label, linewidth=1.3)
    low, high = ([extreme(values) for values in finite.values()] for extreme in (min, max))
    axes.fill_between(list(finite), low, high, color=colour, alpha=0.15, linewidth=0)
    rate = best(by_rate)
    axes.plot([rate], [fmean(by_rate[rate])], "o", color=colour, markeredgecolor="black", markersize=4.5, zorder=4)


if __name__ == "__main__":
    main(NAME, draw)
