"""Figure of the accuracy of each trained net under every solver and number of steps, as a matrix."""

from __future__ import annotations

from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from experiments.support.statistics import over_seeds
from odenet.training import Record
from paper_figs.support.command import main

NAME = "solver_swap"
ROWS = {
    "euler": "Euler, h = 1  (a ResNet)",
    "midpoint": "Midpoint, h = 1",
    "rk4": "RK4, h = 1",
    "euler/4": "Euler, h = 1/4",
    "shared": "Euler, h = 1, shared θ",
    "dopri5": "dopri5  (an ODE-Net)",
}
GROUPS = {"euler": "Euler", "midpoint": "Midpoint", "rk4": "RK4", "dopri5": "dopri5"}
OWN = {"euler": "euler×1", "midpoint": "midpoint×1", "rk4": "rk4×1", "dopri5": "dopri5", "euler/4": "euler×4"}


def draw(record: Record) -> Figure:
    """Draw a cell for each training (row) and test (column); the test with the training's own solver is framed."""
    trainings = [name for name in ROWS if name in record.settings["trainings"]]
    figure = Figure(figsize=(7.2, 1.5 + 0.66 * len(trainings)), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    _matrix(panels[0], record, trainings, "/batch", "a   Each evaluation normalized by its batch, as in training")
    image = _matrix(panels[1], record, trainings, "", "b   BatchNorm's running statistics, as deployed")
    panels[1].set_xlabel("tested with … steps a unit of depth-time")
    figure.colorbar(image, ax=panels, label="test accuracy (%)", pad=0.015, aspect=28)
    return figure


def _matrix(axes: Axes, record: Record, trainings: list[str], statistics: str, title: str) -> AxesImage:
    tests = list(record.results[f"seed{record.settings['seeds'][0]}/{trainings[0]}"]["tests"])
    values = [[100 * _mean(record, training + statistics, test) for test in tests] for training in trainings]
    image = axes.imshow(values, cmap="cividis", vmin=10, vmax=100, aspect="auto")
    for row, training in enumerate(trainings):
        for column, test in enumerate(tests):
            _cell(axes, row, column, values[row][column], OWN.get(training, "euler×1") == test)
    axes.set_title(title, pad=18)
    _label(axes, trainings, tests)
    return image


def _mean(record: Record, key: str, test: str) -> float:
    return fmean(tests[test]["accuracy"] for tests in over_seeds(record.results, key, "tests"))


def _cell(axes: Axes, row: int, column: int, value: float, own: bool) -> None:
    colour = "white" if value < 60 else "black"
    axes.text(
        column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontweight="bold" if own else "normal"
    )
    if own:
        axes.add_patch(Rectangle((column - 0.47, row - 0.46), 0.94, 0.92, fill=False, edgecolor="#D55E00", linewidth=2))


def _label(axes: Axes, trainings: list[str], tests: list[str]) -> None:
    axes.set_yticks(range(len(trainings)), [ROWS[name] for name in trainings])
    axes.set_xticks(range(len(tests)), [test.partition("×")[2] or "auto" for test in tests])
    axes.set_ylabel("trained with")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for solver, name in GROUPS.items():
        columns = [i for i, test in enumerate(tests) if test.partition("×")[0] == solver]
        axes.text(fmean(columns), -0.62, name, ha="center", va="bottom", fontweight="bold")
        if columns[0]:
            axes.axvline(columns[0] - 0.5, color="white", linewidth=3)


if __name__ == "__main__":
    main(NAME, draw)
