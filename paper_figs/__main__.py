"""Command that redraws every figure from the committed records: `python -m paper_figs [--out FOLDER]`."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from experiments.support.endings import ends_in_a_line
from experiments.support.invocation import as_invoked
from odenet.blocks.extras import Extra
from paper_figs.support.command import FIGURES, RECORDS, draw_records, records_of, scripts

with Extra("figures"):
    import tyro


def main(out: Path = FIGURES) -> None:
    """Draw all figures from the committed records, which takes seconds.

    Args:
        out: Folder for the figures.

    Raises:
        FileNotFoundError: if there are no records here.
    """
    every = scripts()
    if not any(records_of(script.experiment) for script in every):
        raise FileNotFoundError(
            f"every figure was to be drawn, but the folder {RECORDS} here has no records: give one of your own, "
            "python -m paper_figs.NAME --record FILE, or draw in a clone of the repository, which has the committed "
            "ones."
        )
    for script in every:
        if records_of(script.experiment):
            draw_records(script.name, script.draw, None, out, script.experiment)


def description() -> str:
    """Return what the command does, with the figures that there are and the experiment of each."""
    listed = [f"{script.name}: {first_line(script.name)} (of {script.experiment})" for script in scripts()]
    return "\n\n".join(
        [
            f"Redraw every figure from the records in {RECORDS}/, in seconds and without training.",
            "One of them, from these records or from one of your own: python -m paper_figs.NAME --record FILE",
            *listed,
        ]
    )


def first_line(name: str) -> str:
    """Return the first line of the docstring of a figure's script, without its full stop."""
    return (import_module(f"paper_figs.{name}").__doc__ or "").splitlines()[0].rstrip(".")


if __name__ == "__main__":
    with ends_in_a_line("paper_figs", sys.argv[1:]):
        tyro.cli(main, prog=as_invoked("python -m paper_figs"), description=as_invoked(description()))
