"""The command line of a figure: `python -m paper_figs.NAME [--record FILE] [--out FOLDER]`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import tyro
from matplotlib.figure import Figure

from odenet.training import Record
from paper_figs.style import save

Draw: TypeAlias = Callable[[Record], Figure]

RECORDS, FIGURES = Path("records"), Path("paper_figs/figures")


def main(name: str, draw: Draw) -> None:
    """Draw the figure of every record of experiment `name` in `records/`, or of `--record`."""

    def options(record: Path | None = None, out: Path = FIGURES) -> None:
        """Draw a figure.

        Args:
            record: One record; by default every one of this experiment in records/.
            out: Folder of the figures.
        """
        try:
            draw_records(name, draw, [record] if record else None, out)
        except (ValueError, OSError) as error:
            sys.exit(f"{name}: {error}")

    tyro.cli(options, prog=f"python -m paper_figs.{name}")


def draw_records(name: str, draw: Draw, paths: list[Path] | None, out: Path) -> None:
    """Draw and save a figure for each record, `NAME-PRESET-DATA.pdf` and `.png`; print where they are.

    Raises:
        FileNotFoundError: no record.
        ValueError: a record that is not finished, or of another experiment.
    """
    for path in paths or sorted((RECORDS / name).glob("*.json")):
        record = Record.load(path)
        if record.experiment != name or not record.finished:
            state = "" if record.finished else ", not finished"
            raise ValueError(
                f"{path} is a record of {record.experiment}{state}; this figure needs a finished one of {name}: run "
                f"python -m experiments.{name} first."
            )
        for file in save(draw(record), out / f"{name}-{path.stem}"):
            print(f"figure: {file}")
