"""Figure of the report on a network: distances under other solvers, roughness over depth, lesions, eigenvalues."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.support.ode_questions import SOLVERS, STEPS
from odenet.blocks.solvers.named import solver_named
from odenet.blocks.solvers.runge_kutta import RungeKutta
from odenet.measure import stability_function
from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.style import COLOURS

NAME = "is_it_an_ode"
NAMES = {"euler": "Euler", "midpoint": "Midpoint", "rk4": "RK4"}
RESNET = "/pre-activation, h = 1/"
"""Part of the keys of the net that is drawn, if the record has several."""
UNRELATED = 2**0.5
"""Roughness of independent nodes."""


def draw(record: Record) -> Figure:
    """Draw four panels for the first seed of the ResNet with h = 1, or of the checkpoint, under its verdict."""
    own = next((key for key in record.results if RESNET in key), next(iter(record.results))).rpartition("/")[0]
    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    panels = figure.subplots(2, 2)
    figure.suptitle(f"An ODE?  {record.results[f'{own}/verdict']['words']}", fontsize=9.5, fontweight="bold")
    _solvers(panels[0, 0], record.results[f"{own}/solvers"]["distance"])
    _smoothness(panels[0, 1], record.results[f"{own}/smoothness"])
    _lesions(panels[1, 0], record.results[f"{own}/lesions"])
    _spectrum(panels[1, 1], record.results[f"{own}/spectrum"]["eigenvalues"])
    return figure


def _solvers(axes: Axes, distances: dict[str, float]) -> None:
    for solver in SOLVERS:
        values = [100 * distances[f"{solver}×{steps}"] for steps in STEPS]
        axes.plot(STEPS, values, "o-", color=COLOURS[solver], label=NAMES[solver])
    axes.set_xscale("log", base=2)
    axes.set_xticks(STEPS, [str(steps) for steps in STEPS])
    axes.set_ylim(bottom=0)
    axes.set_title("a   Solved otherwise, statistics as trained")
    axes.set_xlabel("steps a piece")
    axes.set_ylabel("output moves by (%)")
    axes.legend()


def _smoothness(axes: Axes, roughness: dict[str, list[list[float]]]) -> None:
    for name, label, colour in (
        ("theta", "θ", COLOURS["scratch"]),
        ("state", "speed of the state", COLOURS["refined"]),
    ):
        for number, (places, values) in enumerate(_by_depth(roughness[name], 1)):
            axes.plot(places, values, "o-", color=colour, label=None if number else label)
    axes.axhline(UNRELATED, color=COLOURS["steps"], linestyle=":", label="unrelated")
    axes.set_ylim(0, 2.05)
    _blocks(axes, roughness["state"], 1)
    axes.set_title("b   Neighbours in depth")
    axes.set_ylabel("relative difference")
    axes.legend(loc="lower right")


def _lesions(axes: Axes, lesions: dict[str, list[list[float]]]) -> None:
    axes.set_axisbelow(True)
    for number, (places, values) in enumerate(_by_depth(lesions["dropped"], 0)):
        heights = [100 * value for value in values]
        axes.bar(places, heights, 0.6, color=COLOURS["scratch"], label=None if number else "a layer left out")
    for number, (places, values) in enumerate(_by_depth(lesions["swapped"], 1)):
        between = [place + 0.5 for place in places]
        heights = [100 * value for value in values]
        axes.plot(between, heights, "D", color=COLOURS["refined"], label=None if number else "two exchanged")
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])
    _blocks(axes, lesions["dropped"], 0)
    axes.set_title("c   Lesions")
    axes.set_ylabel("output moves by (%)")
    axes.legend(loc="upper left", ncols=2)


def _by_depth(blocks: list[list[float]], missing: int) -> Iterator[tuple[list[int], list[float]]]:
    """Yield places along the depth and values of each block, which has `missing` more layers than values."""
    start = 0
    for values in blocks:
        yield list(range(start, start + len(values))), values
        start += len(values) + missing + 1


def _blocks(axes: Axes, blocks: list[list[float]], missing: int) -> None:
    """Format the x axis: a tick for each value, numbered from 1 in its block, and the blocks named below."""
    groups = [places for places, _ in _by_depth(blocks, missing)]
    ticks = [(place, str(number)) for places in groups for number, place in enumerate(places, 1)]
    axes.set_xticks([place for place, _ in ticks], [label for _, label in ticks])
    axes.set_xlabel("   |   ".join(f"stage {number}" for number in range(1, len(groups) + 1)) + "   (depth →)")


def _spectrum(axes: Axes, eigenvalues: list[tuple[float, float]]) -> None:
    points = np.array(eigenvalues)
    reach = 1.15 * max(3.0, float(np.abs(points).max()))
    real, imaginary = np.meshgrid(np.linspace(-reach, reach, 301), np.linspace(-reach, reach, 301))
    for solver in SOLVERS:
        method = solver_named(solver)
        assert isinstance(method, RungeKutta)
        growth = np.abs(stability_function(method.tableau, real + 1j * imaginary))
        axes.contour(real, imaginary, growth, levels=[1.0], colors=[COLOURS[solver]], linewidths=1.2)
        axes.plot([], [], color=COLOURS[solver], label=NAMES[solver])
    axes.plot(points[:, 0], points[:, 1], ".", color="black", markersize=3)
    axes.set_aspect("equal")
    axes.legend(loc="upper right", fontsize=7)
    axes.set_title("d   Eigenvalues; inside, a step decays")
    axes.set_xlabel("h · Re λ")
    axes.set_ylabel("h · Im λ")


if __name__ == "__main__":
    main(NAME, draw)
