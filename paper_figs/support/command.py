"""The command line of a figure: `python -m paper_figs.NAME [--record FILE] [--out FOLDER]`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import NamedTuple, TypeAlias

import tyro
from matplotlib.figure import Figure

from odenet.training import Record
from paper_figs.support.cards import cards, of_gpus_first
from paper_figs.support.style import save

Draw: TypeAlias = Callable[[Record], Figure]

RECORDS, FIGURES = Path("records"), Path("paper_figs/figures")


def main(name: str, draw: Draw, experiment: str | None = None) -> None:
    """Draw figure `name` for every record of its experiment in `records/`, or for `--record`.

    Args:
        name: of the figure.
        draw: makes it.
        experiment: whose records it shows; by default the one called `name`.
    """

    def options(record: Path | None = None, out: Path | None = None) -> None:
        """Draw a figure.

        Args:
            record: One record; by default every one of this experiment in records/.
            out: Folder of the figures; by default that of the record given, or paper_figs/figures where none is.
        """
        folder = out or (record.parent if record else FIGURES)
        try:
            draw_records(name, draw, [record] if record else None, folder, experiment)
        except (ValueError, OSError) as error:
            sys.exit(f"{name}: {error}")

    tyro.cli(options, prog=f"python -m paper_figs.{name}")


def draw_records(name: str, draw: Draw, paths: list[Path] | None, out: Path, experiment: str | None = None) -> None:
    """Draw and save a figure for each record, `NAME-PRESET-DATA.pdf` and `.png`; print where they are.

    One of a record that was made on a GPU has the name of the card in its corner.

    Raises:
        FileNotFoundError: no record.
        ValueError: a record that is not finished, or of another experiment.
    """
    experiment = experiment or name
    for path in paths or records_of(experiment):
        record = Record.load(path)
        if record.experiment != experiment or not record.finished:
            state = "" if record.finished else ", not finished"
            raise ValueError(
                f"{path} is a record of {record.experiment}{state}; this figure needs a finished one of {experiment}: "
                f"run python -m {experiment if '.' in experiment else f'experiments.{experiment}'} first."
            )
        figure = draw(record)
        if made_on := cards(record):
            figure.text(0.995, 0.005, ", ".join(made_on), ha="right", va="bottom", fontsize=4, color="0.4")
        for file in save(figure, out / f"{name}-{path.stem.removeprefix(f'{name}-')}"):
            print(f"figure: {file}")


def records_of(experiment: str) -> list[Path]:
    """Committed records, GPUs first: records/NAME/*.json, and records/benchmarks/NAME-*.json of a benchmark."""
    folder, _, name = experiment.rpartition(".")
    found = (RECORDS / folder).glob(f"{name}-*.json") if folder else (RECORDS / name).glob("*.json")
    return of_gpus_first(list(found))


class Script(NamedTuple):
    """A script of this folder that draws a figure."""

    name: str
    draw: Draw
    experiment: str


def scripts() -> list[Script]:
    """Every script of paper_figs that has a `NAME` and a `draw`, by name."""
    modules = [
        import_module(f"paper_figs.{found.name}")
        for found in iter_modules([str(Path(__file__).parents[1])])
        if not found.name.startswith("__")
    ]
    drawing = [module for module in modules if hasattr(module, "NAME")]
    return [Script(m.NAME, m.draw, getattr(m, "EXPERIMENT", m.NAME)) for m in drawing]
