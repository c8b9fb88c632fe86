"""Figure of gradients over depth: a chain, sigmoid nets and their learning, plain and residual nets, GoogLeNet."""

from __future__ import annotations

from statistics import geometric_mean

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.support.statistics import over_seeds
from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.seeds import logarithmic_curve
from paper_figs.support.style import COLOURS

NAME = "gradient_flow"
SIGMOIDS = {"sigmoid": "alone", "sigmoid+bn": "with BatchNorm", "sigmoid+identity": "with identities"}
FAMILIES = {"plain": "plain", "resnet": "residual"}
NORMS = {"+bn": "-", "": ":"}
ERROR = r"error $\delta_l$, root mean square"


def draw(record: Record) -> Figure:
    """Draw six panels: vanishing gradients and remedies in sigmoid nets above, nets of ReLUs below."""
    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    (chain, sigmoids, speed), (initial, trained, googlenet) = figure.subplots(2, 3)
    _chain(chain, record)
    _sigmoids(sigmoids, record)
    _speed(speed, record)
    trained.sharey(initial)
    layers = 6 * max(record.settings["blocks"]) + 2
    _nets(initial, record, layers, "initial", f"d   {layers} layers, untrained")
    _nets(trained, record, layers, "trained", "e   … and trained")
    for norm, style in NORMS.items():
        initial.plot([], [], style, color="black", label="with BatchNorm" if norm else "without")
    handles, labels = initial.get_legend_handles_labels()
    figure.legend(handles, ["d, e: " + labels[0], *labels[1:]], loc="outside lower left", ncols=4)
    _googlenet(googlenet, record)
    return figure


def _chain(axes: Axes, record: Record) -> None:
    for w, colour in ((100, "plain"), (6.9, "resnet"), (0.9, "sigmoid")):
        gradients = record.results[f"chain/w={w:g}, z=0"]["bias_gradients"]
        axes.plot(range(1, len(gradients) + 1), gradients, "-o", color=COLOURS[colour])
        above = 4 if w > 1 else -12  # on the side where there is no line
        axes.annotate(
            f"w = {w:g}", (1, gradients[0]), xytext=(7, above), textcoords="offset points", color=COLOURS[colour]
        )
    axes.set(
        yscale="log", xlabel="layer $l$", ylabel=r"$\partial a_4/\partial b_l$", title="a   A chain of sigmoids, z = 0"
    )
    axes.set_ylim(bottom=gradients[0] / 20, top=2e4)
    axes.set_xticks(range(1, len(gradients) + 1))


def _sigmoids(axes: Axes, record: Record) -> None:
    depth = max(record.settings["depths"])
    for name, label in SIGMOIDS.items():
        errors = _over_depth(record, f"{name}{depth}/initial", "error")
        style = {"color": COLOURS[name], "markersize": 3, "label": label}
        logarithmic_curve(axes, range(1, depth + 1), errors, "-o", **style)
    axes.set(yscale="log", xlabel="layer $l$", ylabel=ERROR, title="b   Layers of sigmoids")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower right", fontsize=7, handlelength=1.2)


def _speed(axes: Axes, record: Record) -> None:
    depth = max(record.settings["followed"])
    runs = over_seeds(record.results, f"sigmoid{depth}/speed", "bias_gradient")
    steps = over_seeds(record.results, f"sigmoid{depth}/speed", "step")[0]
    shades = mpl.colormaps["viridis"]
    for layer in range(depth):
        speeds = [[run[look][layer] for run in runs] for look in range(len(steps))]
        style = {"color": shades(0.9 * layer / (depth - 1)), "label": f"layer {layer + 1}"}
        logarithmic_curve(axes, steps, speeds, "-", **style)
    axes.set(
        yscale="log",
        xlabel="step of gradient descent",
        ylabel=r"$\|\partial C/\partial b_l\|$",
        title="c   Speed of learning",
    )
    axes.legend(loc="upper right", reverse=True)


def _nets(axes: Axes, record: Record, layers: int, when: str, title: str) -> None:
    for family, label in FAMILIES.items():
        for norm, style in NORMS.items():
            errors = _over_depth(record, f"{family}{layers}{norm}/{when}", "error")
            look = {"color": COLOURS[family], "label": label if norm else None}
            logarithmic_curve(axes, range(1, len(errors) + 1), errors, style, **look)
    axes.set(yscale="log", xlabel="layer $l$", ylabel=ERROR, title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _googlenet(axes: Axes, record: Record) -> None:
    depths = over_seeds(record.results, "googlenet/initial", "depth")[0]
    without, beside = (
        _over_depth(record, f"{name}/initial", "weight_gradient") for name in ("googlenet", "googlenet+auxiliary")
    )
    seeds = [[b / a for a, b in zip(*layer, strict=True)] for layer in zip(without, beside, strict=True)]
    ratios = [geometric_mean(layer) for layer in seeds]
    axes.axhline(1, color="black", linewidth=0.8)
    axes.plot(depths, seeds, "o", color=COLOURS["googlenet"], markersize=2, alpha=0.35, markeredgewidth=0)
    axes.plot(depths, ratios, "o", color=COLOURS["googlenet"], markersize=3.5)
    for name, depth in {"4a": 9, "4d": 15}.items():
        axes.axvline(depth + 0.5, color="#666666", linewidth=0.8, linestyle="--")
        axes.annotate(f"auxiliary\nafter {name}", (depth + 0.7, max(ratios)), va="top", fontsize=7)
    axes.set_ylabel(r"$\|\partial C/\partial W\|$, with ÷ without")
    axes.set(xlabel="depth of the layer", title="f   GoogLeNet, auxiliaries")


def _over_depth(record: Record, key: str, entry: str) -> list[tuple[float, ...]]:
    """Return `entry` of each layer, for each seed."""
    return list(zip(*over_seeds(record.results, key, entry), strict=True))


if __name__ == "__main__":
    main(NAME, draw)
