"""How do the results of an experiment depend on its settings? Every combination of values is one run with its record.

    python -m experiments.sweep depth_refinement cpu --over training.lr=0.05,0.1,0.2 --over seeds=0,1 --jobs 2

Each run is the same as `python -m experiments.depth_refinement cpu --training.lr 0.05 --seeds 0 --record FILE`. The
records are in runs/EXPERIMENT/PRESET-sweep/, under names such as training.lr=0.05,seeds=0.json. The entries of a tuple
are separated by spaces: --over "widths=8 16,16 32". With --jobs N, N runs at a time are processes of this machine, or
jobs of Slurm if it is found. The same command, given again, skips finished runs and continues interrupted ones. At the
end, one table shows the rows of all runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from experiments.support.endings import ends_in_a_line
from experiments.support.invocation import as_invoked
from experiments.support.jobs import Jobs
from experiments.support.points import Point, points
from experiments.support.tables import print_table
from odenet.blocks.errors import unknown_name
from odenet.blocks.extras import Extra
from odenet.training import Record

with Extra("experiments"):
    import tyro


class PointsFailed(RuntimeError):  # noqa: N818 (named, as NonFiniteLoss, after what happened)
    """Raised when some points of a sweep failed; the message names them with their errors."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Settings of the sweep."""

    experiment: Annotated[str, tyro.conf.Positional]
    """Name of a script in experiments/ that has presets."""
    preset: Annotated[str, tyro.conf.Positional]
    """Name of the preset that the settings start from."""
    over: Annotated[tuple[str, ...], tyro.conf.UseAppendAction]
    """Setting and its values as NAME=VALUE,VALUE…; once for each setting that varies or differs from the preset."""
    folder: Path | None = None
    """Folder of the records; by default runs/EXPERIMENT/PRESET-sweep."""
    where: Annotated[Jobs, tyro.conf.arg(name="")] = field(default_factory=Jobs)
    """Number of points that run at a time, and where they run."""


def sweep(given: Sweep) -> list[Point]:
    """Run all points that are not finished, print the table, and return all points.

    Raises:
        ValueError: if an experiment, preset or setting is unknown, a value has another type, is out of bounds or is
            repeated, or the folder has the record of another sweep.
        ModuleNotFoundError: if several jobs are asked for and submitit is not installed.
        PointsFailed: if some points failed; the table shows the others.
    """
    every = points(given.experiment, given.preset, _preset(given), given.over, _folder(given))
    left = [point for point in every if not point.finished]
    print(f"{len(every)} points, {len(every) - len(left)} of them finished; records: {_folder(given)}")
    failures = _run(given, left) if left else {}
    print_table(given.experiment.replace("_", " "), table(point for point in every if point.name not in failures))
    if failures:
        what = "\n".join(f"  {name}: {why}" for name, why in failures.items())
        raise PointsFailed(
            f"{len(failures)} of {len(every)} points failed and are not in the table:\n{what}\nGive the same command "
            "again to continue them, or leave their values out."
        )
    return every


def table(finished: Iterable[Point]) -> list[dict[str, Any]]:
    """Return the rows of all records, each preceded by the settings of its point."""
    return [dict(point.given) | row for point in finished for row in Record.load(point.path).summary["table"]]


def _run(given: Sweep, left: list[Point]) -> dict[str, str]:
    """Run the points that are left; return the errors of those that failed, by name."""
    failures = {}
    outcomes = given.where.outcomes(left, _folder(given) / "jobs")
    for done, (point, failure) in enumerate(outcomes, start=1):
        print(f"{done}/{len(left)}  {point.name}: {'finished' if failure is None else failure}", flush=True)
        if failure is not None:
            failures[point.name] = failure
    return failures


def _folder(given: Sweep) -> Path:
    return given.folder or Path("runs") / given.experiment / f"{given.preset}-sweep"


def _preset(given: Sweep) -> Any:
    """Return the settings of the preset."""
    scripts = Path(__file__).parent.glob("*.py")
    known = [path.stem for path in scripts if "\nEXPERIMENT = " in path.read_text("utf-8")]
    if given.experiment not in known:
        raise unknown_name("experiment", given.experiment, known)
    presets = import_module(f"experiments.{given.experiment}").EXPERIMENT.presets
    if given.preset not in presets:
        raise unknown_name(f"preset of {given.experiment}", given.preset, presets)
    return presets[given.preset]


def main() -> None:
    """Run the sweep that the command line describes."""
    kept = "what is finished is kept"
    with ends_in_a_line("experiments.sweep", sys.argv[1:], PointsFailed, kept=kept):
        sweep(tyro.cli(Sweep, prog=as_invoked("python -m experiments.sweep"), description=as_invoked(__doc__ or "")))


if __name__ == "__main__":
    main()
