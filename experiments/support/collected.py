"""Figures and tables of collected records, the same as those of `python -m paper_figs` and `paper_figs.claims`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.__main__ import gather
from odenet.training import Record
from paper_figs.claims.pages import write_pages
from paper_figs.support.command import FIGURES, RECORDS, draw_records, scripts


def redraw(changed: Sequence[Path], records: Path) -> None:
    """Draw the figures of records that have changed, and write the tables of README.md and docs/.

    Args:
        changed: Files of the records.
        records: Folder of the records. If it is not the repository's own, figures go to `figures` in it, and no page is
            changed.
    """
    figures = FIGURES if records == RECORDS else records / "figures"
    of_experiments = {path: Record.load(path).experiment for path in [*changed, *_gathered(changed, records)]}
    for script in scripts():
        if paths := [path for path, experiment in of_experiments.items() if experiment == script.experiment]:
            draw_records(script.name, script.draw, paths, figures, script.experiment)
    if records == RECORDS:
        write_pages()


def _gathered(changed: Sequence[Path], records: Path) -> list[Path]:
    """Write the joint record of two benchmarks that share a figure, if both have records and either has changed."""
    found = []
    for device in ("cuda", "cpu"):
        parts = [records / "benchmarks" / f"{name}-{device}.json" for name in ("adaptive", "fixed_steps")]
        if set(parts) & set(changed) and all(part.exists() for part in parts):
            found.append(records / "peers" / f"{device}.json")
            gather(Record.load(parts[0]), Record.load(parts[1]), found[-1])
    return found
