"""Command that redraws every figure from the committed records: `python -m paper_figs [--out FOLDER]`."""

from __future__ import annotations

from pathlib import Path

from experiments.support.invocation import as_invoked
from odenet.blocks.extras import Extra
from paper_figs.support.command import FIGURES, draw_records, scripts

with Extra("figures"):
    import tyro


def main(out: Path = FIGURES) -> None:
    """Draw all figures from the committed records, which takes seconds.

    Args:
        out: Folder for the figures.
    """
    for script in scripts():
        draw_records(script.name, script.draw, None, out, script.experiment)


if __name__ == "__main__":
    tyro.cli(main, prog=as_invoked("python -m paper_figs"))
