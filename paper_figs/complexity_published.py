"""Figure of published ImageNet accuracy against operations counted here, and of accuracy per million parameters."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.families import colour, legend_of, written
from paper_figs.support.style import COLOURS

NAME, EXPERIMENT = "complexity_published", "complexity"

AREA = 2e5
"""Number of parameters per square point of a disc's area."""

LEFT = ("googlenet_bn", "resnet101", "vgg16")
"""Nets whose names are to the left of their discs, since another disc is to the right."""


def draw(record: Record) -> Figure:
    """Draw figures like 2 and 10 of Canziani et al. 2016; the area of a disc shows the number of parameters."""
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
    nets = nets_of(record)
    for name, net in nets.items():
        left.scatter(
            net["operations"] / 1e9, net["top1"], s=net["parameters"] / AREA, color=colour(name), alpha=0.6, lw=0
        )
        left.scatter(net["operations"] / 1e9, net["top1"], s=3, color="black", zorder=4)
        _annotate(left, name, net)
    left.set_xscale("log")
    left.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    left.set(xlabel="operations of an image (billions, 2 a multiply-add)", ylabel="top-1 accuracy on ImageNet (%)")
    left.set_title("a   Accuracy against operations")
    left.margins(x=0.2, y=0.16)
    figure.legend(handles=[*legend_of(left, nets), *_sizes(left)], loc="outside lower center", ncols=8, fontsize=7.5)
    _densities(right, nets, record.summary["densities"])
    return figure


def nets_of(record: Record) -> dict[str, dict[str, Any]]:
    """Return the counted costs and published top-1 accuracy on one crop of the nets that have both."""
    one_crop = {name: found for name, found in record.summary["published"].items() if found["crops"] == 1}
    accuracies = {name: found["top1"] for name, found in one_crop.items() if found["top1"] is not None}
    counted = {name: record.results.get(f"counted/{name}") for name in accuracies}
    return {
        name: {"top1": accuracies[name], "operations": 2 * net["multiply_adds"], "parameters": net["parameters"]}
        for name, net in counted.items()
        if net is not None
    }


def _annotate(axes: Axes, name: str, net: dict[str, Any]) -> None:
    radius = (net["parameters"] / AREA / 3.14) ** 0.5
    shift, side = (-radius - 2, "right") if name in LEFT else (radius + 2, "left")
    axes.annotate(
        written(name),
        (net["operations"] / 1e9, net["top1"]),
        (shift, 0),
        textcoords="offset points",
        ha=side,
        va="center",
        fontsize=7,
    )


def _sizes(axes: Axes) -> list[Any]:
    return [
        axes.scatter(
            [], [], s=1e6 * millions / AREA, color=COLOURS["linear"], alpha=0.4, lw=0, label=f"{millions} M parameters"
        )
        for millions in (10, 50)
    ]


def _densities(axes: Axes, nets: dict[str, dict[str, Any]], read_off: dict[str, float]) -> None:
    """Draw bars from our count of parameters, and marks for the values read off Canziani et al. 2016."""
    density = {name: net["top1"] / (net["parameters"] / 1e6) for name, net in nets.items()}
    order = sorted(density, key=lambda name: density[name])
    colours = [colour(name) for name in order]
    axes.barh([written(name) for name in order], [density[name] for name in order], color=colours, zorder=3)
    known = [(read_off[name], written(name)) for name in order if name in read_off]
    axes.plot(*zip(*known, strict=True), "D", color="black", markersize=3.5, zorder=4, label="Canziani et al. 2016")
    axes.set(xlabel="top-1 % for a million parameters", title="b   Accuracy per parameter")
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower right", fontsize=7.5)


if __name__ == "__main__":
    main(NAME, draw, EXPERIMENT)
