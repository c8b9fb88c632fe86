"""Command that runs all or the named benchmarks, each in its own process, and draws their figures.

    python -m benchmarks                     # all without a finished record: 3/4 hour on two idle cores
    python -m benchmarks adaptive networks
    python -m benchmarks --quick             # a minute or two, to check that everything works

Packages that are not installed are left out and named. Every benchmark prints a table and writes
runs/benchmarks/NAME-DEVICE.json; the figures are runs/benchmarks/{peers,gradient_peers,scaling}-DEVICE.png and .pdf.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from benchmarks import adaptive, fixed_steps
from benchmarks.command import FOLDER, device, path_of
from experiments.support.endings import ends_in_a_line
from odenet.blocks.errors import unknown_name
from odenet.blocks.extras import Extra
from odenet.training import Record, Run
from paper_figs import gradient_peers, peers, scaling
from paper_figs.support.command import draw_records

with Extra("experiments"):
    import tyro


def benchmarks() -> dict[str, ModuleType]:
    """Return the benchmarks by name: the modules of this folder that have a `main`."""
    names = [found.name for found in iter_modules([str(Path(__file__).parent)]) if not found.name.startswith("__")]
    modules = {name: import_module(f"benchmarks.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "main")}


def run(names: tyro.conf.Positional[tuple[str, ...]] = (), quick: bool = False) -> None:
    """Run benchmarks and draw their figures.

    Args:
        names: Names of the benchmarks; by default all.
        quick: Only check that everything works, in seconds; benchmarks without a quick form are left out and named.
    """
    known = benchmarks()
    for name in names:
        if name not in known:
            raise unknown_name("benchmark", name, known)
    for name in names or known:
        if quick and not hasattr(known[name], "QUICK"):
            print(f"{name} has no quick form and is left out.", flush=True)
            continue
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *(["--quick"] if quick else [])], check=True)
    draw(quick)


def draw(quick: bool) -> None:
    """Draw every figure whose benchmarks have a record."""
    for figure in (scaling, gradient_peers):
        path = path_of(figure.NAME, quick=quick)
        if path.exists():
            draw_records(figure.NAME, figure.draw, [path], FOLDER, figure.EXPERIMENT)
    draw_peers(quick)


def draw_peers(quick: bool) -> None:
    """Draw the figure that combines adaptive and fixed steps."""
    paths = {module: path_of(module.__name__.rpartition(".")[2], quick=quick) for module in (adaptive, fixed_steps)}
    if missing := [str(path) for path in paths.values() if not path.exists()]:
        print(f"No figure: it needs {', '.join(missing)}.")
        return
    gathered = Path("runs/peers") / f"{device()}{'-quick' if quick else ''}.json"
    gather(Record.load(paths[adaptive]), Record.load(paths[fixed_steps]), gathered)
    draw_records(peers.NAME, peers.draw, [gathered], FOLDER)


def gather(adaptive_record: Record, fixed_record: Record, to: Path) -> None:
    """Write the record behind the figure to `to`, from the records of two benchmarks."""
    to.unlink(missing_ok=True)
    run = Run.open(peers.NAME, {"adaptive": adaptive_record.settings, "fixed steps": fixed_record.settings}, to)
    run.once("adaptive", lambda: {cell: adaptive.curves(result) for cell, result in adaptive_record.results.items()})
    run.once("fixed steps", lambda: {case: fixed_steps.shares(result) for case, result in fixed_record.results.items()})
    run.finish()


def main() -> None:
    """Parse the command line and run the benchmarks."""
    with ends_in_a_line("benchmarks", sys.argv[1:], subprocess.CalledProcessError, kept="what is measured is kept"):
        tyro.cli(run, prog="python -m benchmarks")


if __name__ == "__main__":
    main()
