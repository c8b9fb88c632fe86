"""Figure of the way from ResNet to ODE-Net: table 1 of Chen et al. (2018) above, some of figure 3 below."""

from __future__ import annotations

from statistics import fmean, median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from experiments.support.statistics import over_seeds
from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.seeds import curve
from paper_figs.support.style import COLOURS

NAME = "to_continuous"
NETS = {
    "no_flow": ("no flow", "no_flow"),
    "one_layer": ("one layer", "one_layer"),
    "res_net": ("ResNet", "resnet"),
    "rk_net": ("RK-Net", "rk4"),
    "ode_net": ("ODE-Net, adjoint", "adjoint"),
    "ode_net_exact": ("ODE-Net, exact", "checkpointed"),
}
"""Label and colour of each net; an ODE-Net has the colour of its gradient method."""
METHODS = {"backprop": ("Backprop", "^"), "checkpointed": ("Checkpointed", "s"), "adjoint": ("ContinuousAdjoint", "o")}


def draw(record: Record) -> Figure:
    """Draw the nets side by side in a to c, and a trained ODE-Net at several tolerances in d to f."""
    figure = Figure(figsize=(7.2, 4.9), layout="constrained")
    (a, b, c), (d, e, f) = figure.subplots(2, 3)
    _errors(a, record)
    costs = record.results["costs"]
    megabytes = {name: costs["flow_bytes"][name] / 1e6 for name in NETS}
    milliseconds = {name: 1e3 * median(costs["seconds"][name]) for name in NETS}
    _bars(b, megabytes, "b   Memory of the flow", "peak bytes, there and back (MB)")
    _bars(c, milliseconds, "c   Time of a training step", "there and back (ms)")
    _numerical_errors(d, record)
    _backwards(e, record)
    _memory(f, record)
    return figure


def _errors(axes: Axes, record: Record) -> None:
    labels = []
    for place, (name, (label, colour)) in enumerate(NETS.items()):
        errors = [100 * error for error in over_seeds(record.results, name, "test_error")]
        axes.plot(errors, [place] * len(errors), "o", color=COLOURS[colour], alpha=0.7)
        axes.plot([fmean(errors)], [place], "|", color="black", markersize=11)
        labels.append(f"{label}\n{over_seeds(record.results, name, 'parameters')[0] / 1e3:.1f} k")
    axes.set(title="a   Error and parameters", xlabel="test error (%)", ylim=(len(NETS) - 0.5, -0.5))
    axes.set_yticks(range(len(NETS)), labels, fontsize=7)


def _bars(axes: Axes, values: dict[str, float], title: str, x: str) -> None:
    axes.barh(range(len(NETS)), list(values.values()), color=[COLOURS[colour] for _, colour in NETS.values()])
    for place, value in enumerate(values.values()):
        text = f" {value:.0f}" if value >= 100 else f" {value:.3g}"
        axes.text(value, place, text, va="center", fontsize=7)
    axes.set(title=title, xlabel=x, ylim=(len(NETS) - 0.5, -0.5), xlim=(0, 1.25 * max(values.values())))
    axes.set_yticks([])
    axes.grid(visible=False)


def _rows(record: Record, name: str = "ode_net") -> list[dict[str, Any]]:
    """Return a row for each tolerance of a net, in which each entry is a list over seeds."""
    per_seed = over_seeds(record.results, f"{name}/tolerances", "rows")
    return [{entry: [row[entry] for row in rows] for entry in rows[0]} for rows in zip(*per_seed, strict=True)]


def _over_tolerances(axes: Axes, record: Record, title: str, y: str) -> None:
    axes.set(title=title, xlabel="tolerance", ylabel=y, xscale="log")
    axes.set_xlim(2 * max(record.settings["tolerances"]), min(record.settings["tolerances"]) / 2)
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.tick_params(axis="x", which="minor", bottom=False)


def _numerical_errors(axes: Axes, record: Record) -> None:
    rows = _rows(record)
    tolerances = [row["tolerance"][0] for row in rows]
    curve(axes, tolerances, [row["numerical_error"] for row in rows], "-o", color="black", label="x(T)")
    for method in ("adjoint", "checkpointed"):
        errors = [[error[method] for error in row["gradient_error"]] for row in rows]
        label, marker = METHODS[method]
        style = {"color": COLOURS[method], "markersize": 4, "label": f"gradient, {label}"}
        curve(axes, tolerances, errors, "--" + marker, **style)
    axes.set_yscale("log")
    least = min(min(row["numerical_error"]) for row in rows)
    axes.set_ylim(bottom=least / 50 if least > 0 else None)  # leaves room for the legend
    axes.legend(fontsize=6, handlelength=2, loc="lower left")
    _over_tolerances(axes, record, "d   Numerical error", "relative error")


def _points(record: Record, x: str, y: str) -> tuple[list[float], list[float]]:
    rows = _rows(record)
    return [v for row in rows for v in row[x]], [v for row in rows for v in row[y]]


def _backwards(axes: Axes, record: Record) -> None:
    forward, backward = _points(record, "forward", "backward")
    axes.plot(forward, backward, "o", color=COLOURS["adjoint"], alpha=0.7, label="a seed at a tolerance")
    right = 1.1 * max(forward)
    for slope, style, label in ((1, "-", "as many"), (0.5, ":", "half as many (Chen et al.)")):
        axes.plot([0, right], [0, slope * right], style, color="black", linewidth=0.8, label=label)
    axes.set(title="e   Evaluations, adjoint", xlabel="forwards", ylabel="backwards", xlim=(0, right))
    axes.set_ylim(0, 1.6 * max(*backward, right))
    axes.legend(fontsize=6, loc="upper left")


def _memory(axes: Axes, record: Record) -> None:
    rows = _rows(record)
    for method, (label, marker) in METHODS.items():
        megabytes = [[sizes[method] / 1e6 for sizes in row["flow_bytes"]] for row in rows]
        tolerances = [row["tolerance"][0] for row in rows]
        curve(axes, tolerances, megabytes, f"-{marker}", color=COLOURS[method], markersize=4, label=label)
    axes.set_ylim(0, 1.5 * axes.get_ylim()[1])
    axes.legend(fontsize=6, loc="upper left")
    _over_tolerances(axes, record, "f   Memory of the flow", "peak bytes (MB)")


if __name__ == "__main__":
    main(NAME, draw)
