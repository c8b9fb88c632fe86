"""Run benchmarks, all or those that are named, each in a process of its own, and draw what they found.

    python -m benchmarks                     # all without a finished record: 3/4 hour on two idle cores
    python -m benchmarks adaptive networks
    python -m benchmarks --quick             # in a minute or two, to see that all works

Packages that are not installed are left out, by name. Every benchmark prints a table and writes
runs/benchmarks/NAME-DEVICE.json; the figures are runs/benchmarks/{peers,gradient_peers,scaling}-DEVICE.png and .pdf.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

import tyro

from benchmarks import adaptive, fixed_steps
from benchmarks.command import FOLDER, device, path_of
from odenet.blocks.errors import unknown_name
from odenet.training import Record, Run
from paper_figs import gradient_peers, peers, scaling
from paper_figs.support.command import draw_records


def benchmarks() -> dict[str, ModuleType]:
    """Every module of this folder that measures something: those with a `main` of their own, by name."""
    names = [found.name for found in iter_modules([str(Path(__file__).parent)]) if not found.name.startswith("__")]
    modules = {name: import_module(f"benchmarks.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "main")}


def run(names: tyro.conf.Positional[tuple[str, ...]] = (), quick: bool = False) -> None:
    """Run benchmarks and draw what they found.

    Args:
        names: Which; by default all.
        quick: Only see that all works, in seconds; benchmarks that have no quick form are left out, by name.
    """
    there = benchmarks()
    for name in names:
        if name not in there:
            raise unknown_name("benchmark", name, there)
    for name in names or there:
        if quick and not hasattr(there[name], "QUICK"):
            print(f"{name} has no quick form and is left out.", flush=True)
            continue
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *(["--quick"] if quick else [])], check=True)
    draw(quick)


def draw(quick: bool) -> None:
    """Every figure whose benchmarks have a record."""
    for figure in (scaling, gradient_peers):
        path = path_of(figure.NAME, quick=quick)
        if path.exists():
            draw_records(figure.NAME, figure.draw, [path], FOLDER, figure.EXPERIMENT)
    draw_peers(quick)


def draw_peers(quick: bool) -> None:
    """The figure of adaptive and fixed steps together."""
    paths = {module: path_of(module.__name__.rpartition(".")[2], quick=quick) for module in (adaptive, fixed_steps)}
    if lacking := [str(path) for path in paths.values() if not path.exists()]:
        print(f"No figure: it needs {', '.join(lacking)}.")
        return
    gathered = Path("runs/peers") / f"{device()}{'-quick' if quick else ''}.json"
    gather(Record.load(paths[adaptive]), Record.load(paths[fixed_steps]), gathered)
    draw_records(peers.NAME, peers.draw, [gathered], FOLDER)


def gather(adapting: Record, fixed: Record, to: Path) -> None:
    """The record of what the figure shows, made anew from those of two benchmarks."""
    to.unlink(missing_ok=True)
    run = Run.open(peers.NAME, {"adaptive": adapting.settings, "fixed steps": fixed.settings}, to)
    run.once("adaptive", lambda: {cell: adaptive.curves(result) for cell, result in adapting.results.items()})
    run.once("fixed steps", lambda: {case: fixed_steps.shares(result) for case, result in fixed.results.items()})
    run.finish()


def main() -> None:
    """Parse the command line, and run."""
    try:
        tyro.cli(run, prog="python -m benchmarks")
    except (ValueError, subprocess.CalledProcessError) as error:
        sys.exit(f"benchmarks: {error}")


if __name__ == "__main__":
    main()
