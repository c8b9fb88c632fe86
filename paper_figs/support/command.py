"""Command line of a figure: `python -m paper_figs.NAME [--record FILE] [--out FOLDER]`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import NamedTuple, TypeAlias

from matplotlib.figure import Figure

from experiments.support.endings import ends_in_a_line
from experiments.support.invocation import as_invoked
from odenet.blocks.extras import Extra
from odenet.training import Record
from paper_figs.support.cards import cards, of_gpus_first
from paper_figs.support.style import save

with Extra("figures"):
    import tyro

Draw: TypeAlias = Callable[[Record], Figure]

RECORDS, FIGURES = Path("records"), Path("paper_figs/figures")


def main(name: str, draw: Draw, experiment: str | None = None) -> None:
    """Parse the command line and draw a figure for every record of its experiment in `records/`, or for `--record`.

    Args:
        name: Name of the figure.
        draw: Function that draws the figure of a record.
        experiment: Experiment whose records the figure shows; by default `name`.
    """

    def options(record: Path | None = None, out: Path | None = None) -> None:
        """Draw a figure.

        Args:
            record: Record to draw; by default every record of this experiment in records/.
            out: Folder for the figures; by default the folder of the given record, or paper_figs/figures without one.
        """
        folder = out or (record.parent if record else FIGURES)
        with ends_in_a_line(f"paper_figs.{name}", sys.argv[1:]):
            draw_records(name, draw, [record] if record else None, folder, experiment)

    tyro.cli(options, prog=as_invoked(f"python -m paper_figs.{name}"))


def draw_records(name: str, draw: Draw, paths: list[Path] | None, out: Path, experiment: str | None = None) -> None:
    """Draw a figure for each record, save it as `NAME-PRESET-DATA.pdf` and `.png`, and print the paths.

    One of a record that was made on a GPU has the name of the card in its corner.

    Raises:
        FileNotFoundError: if a record does not exist, or no record is given and records/ has none.
        ValueError: if a record is unfinished or belongs to another experiment.
    """
    experiment = experiment or name
    paths = paths or records_of(experiment)
    if not paths:
        raise FileNotFoundError(
            f"records were to be drawn, but the folder {RECORDS} here has none of {experiment}: give one of your own, "
            f"python -m paper_figs.{name} --record runs/{experiment}/FILE.json, or draw in a clone of the repository, "
            "which has the committed records."
        )
    for path in paths:
        record = Record.load(path)
        if record.experiment != experiment or not record.finished:
            state = "" if record.finished else ", not finished"
            raise ValueError(
                f"{path} is a record of {record.experiment}{state}, but this figure needs a finished record of "
                f"{experiment}: run python -m {experiment if '.' in experiment else f'experiments.{experiment}'} first."
            )
        figure = draw(record)
        if made_on := cards(record):
            figure.text(0.995, 0.005, ", ".join(made_on), ha="right", va="bottom", fontsize=4, color="0.4")
        for file in save(figure, out / f"{name}-{path.stem.removeprefix(f'{name}-')}"):
            print(f"figure: {file}")


def records_of(experiment: str) -> list[Path]:
    """Return committed records, those of GPUs first.

    They are records/NAME/*.json of an experiment and records/benchmarks/NAME-*.json of a benchmark.
    """
    folder, _, name = experiment.rpartition(".")
    found = (RECORDS / folder).glob(f"{name}-*.json") if folder else (RECORDS / name).glob("*.json")
    return of_gpus_first(list(found))


class Script(NamedTuple):
    """A script of `paper_figs` that draws a figure."""

    name: str
    draw: Draw
    experiment: str


def scripts() -> list[Script]:
    """Return every script of `paper_figs` that has a `NAME` and a `draw`, sorted by name."""
    modules = [
        import_module(f"paper_figs.{found.name}")
        for found in iter_modules([str(Path(__file__).parents[1])])
        if not found.name.startswith("__")
    ]
    drawing = [module for module in modules if hasattr(module, "NAME")]
    return [Script(m.NAME, m.draw, getattr(m, "EXPERIMENT", m.NAME)) for m in drawing]
