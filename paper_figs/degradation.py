"""Figure of training and test errors of plain, residual and grown nets over epochs and depth."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.support.statistics import evaluated, over_seeds
from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.seeds import curve, points
from paper_figs.support.style import COLOURS

NAME = "degradation"
LABELS = {"plain": "plain", "resnet": "residual"}
ERRORS = (5, 10, 20, 40, 80)
"""Ticks in percent: errors of deep plain nets are ten times those of residual nets."""


def draw(record: Record) -> Figure:
    """Draw the curves of the plain and of the residual nets, and the final errors of all nets."""
    figure = Figure(figsize=(7.2, 3.1), layout="constrained")
    plain, resnet, final = figure.subplots(1, 3, width_ratios=(1, 1, 1.15))
    for axes, kind, panel in ((plain, "plain", "a   Plain nets"), (resnet, "resnet", "b   Residual nets")):
        _curves(axes, record, kind)
        axes.set_title(panel)
    resnet.sharey(plain)
    resnet.tick_params(labelleft=False)
    plain.set_ylabel("error (%)")
    for kind in LABELS:
        _final_errors(final, record, kind)
    final.set(title="c   After training", xlabel="layers", ylabel="error (%)")
    layers = sorted({layers for kind in LABELS for layers in depths(record, kind)})
    final.set_xscale("log")
    final.set_yscale("log")
    final.set(xticks=layers, xticklabels=map(str, layers), yticks=ERRORS, yticklabels=map(str, ERRORS), ylim=(4, 100))
    final.minorticks_off()
    longer = any(depths(record, f"{kind}-longer") for kind in LABELS)
    figure.legend(handles=_legend(final, longer=longer), loc="outside lower center", ncols=3, handlelength=2.6)
    return figure


def depths(record: Record, kind: str) -> list[int]:
    """Return the numbers of layers of the nets of a kind, in ascending order."""
    return sorted({int(name.split("/")[2]) for name in record.results if name.split("/")[1] == kind})


def _curves(axes: Axes, record: Record, kind: str) -> None:
    """Draw the running training error (solid) and that on unseen images (dotted), darker for deeper nets."""
    layers = depths(record, kind)
    for index, depth in enumerate(layers):
        colour = _shade(COLOURS[kind], (index + 1) / len(layers))
        histories = over_seeds(record.results, f"{kind}/{depth}", "history")
        epochs = [row["epoch"] for row in histories[0]]
        running = [[row["train_accuracy"] for row in rows] for rows in histories]
        for accuracies, form in ((running, "-"), (map(evaluated, histories), ":")):
            samples = [[100 - 100 * a for a in over] for over in zip(*accuracies, strict=True)]
            curve(axes, epochs, samples, form, color=colour, label=f"{depth} layers" if form == "-" else None)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_yscale("log")
    axes.set(yticks=ERRORS, yticklabels=map(str, ERRORS), ylim=(4, 100))
    axes.minorticks_off()
    axes.legend(loc="lower left" if kind == "plain" else "upper right", fontsize=7.5)


def _final_errors(axes: Axes, record: Record, kind: str) -> None:
    layers, colour = depths(record, kind), COLOURS[kind]
    for entry, form, face in (("train_error", "-o", colour), ("test_error", ":o", "white")):
        _errors(axes, record, kind, layers, entry, form, colour, face)
        _errors(axes, record, f"{kind}-grown", layers[-1:], entry, "*", colour, face)
        _errors(axes, record, f"{kind}-longer", depths(record, f"{kind}-longer"), entry, "D", colour, face)


def _errors(
    axes: Axes, record: Record, kind: str, layers: list[int], entry: str, form: str, colour: str, face: str
) -> None:
    """Draw the mean of `entry` over the number of layers, with deviations over the seeds as bars."""
    values = [[100 * error for error in over_seeds(record.results, f"{kind}/{depth}", entry)] for depth in layers]
    style = {"color": colour, "markerfacecolor": face, "markersize": 10 if form == "*" else 5, "zorder": 3}
    places = [depth if "o" in form else 1.07 * depth for depth in layers]
    points(axes, places, values, form, **style)


def _legend(axes: Axes, *, longer: bool) -> list[Any]:
    """Return the legend entries for colours, line styles and marker fillings, with that of nets trained on."""
    entries: list[Any] = [axes.plot([], [], "-", color=COLOURS[kind], label=label)[0] for kind, label in LABELS.items()]
    forms = {
        "training images": ("-o", "black"),
        "unseen images": (":o", "white"),
        "grown by identity layers, then trained": ("*", "black"),
    }
    forms |= {"trained on for as long": ("D", "black")} if longer else {}
    for label, (form, face) in forms.items():
        size = 10 if form == "*" else 5
        entries += axes.plot([], [], form, color="black", markerfacecolor=face, markersize=size, label=label)
    return entries


def _shade(colour: str, depth: float) -> tuple[float, float, float]:
    """Return a paler colour for shallower nets; `depth` is 1 for the deepest net."""
    pale = 0.65 * (1 - depth)
    red, green, blue = (channel + (1 - channel) * pale for channel in to_rgb(colour))
    return red, green, blue


if __name__ == "__main__":
    main(NAME, draw)
