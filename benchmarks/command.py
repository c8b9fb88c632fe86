"""The command line of a benchmark that has a quick form: `python -m benchmarks.NAME [--quick]`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
import tyro

from benchmarks.peers.packages import versions
from experiments.support.tables import print_table
from odenet.training import Record, Run

FOLDER = Path("runs/benchmarks")
"""Of the records."""

Row = dict[str, str]
"""Quantity, goal, what was measured, and what stands beside it."""

S = TypeVar("S")


def device() -> str:
    """Where benchmarks run: the GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def path_of(name: str, *, quick: bool = False) -> Path:
    """The record of a benchmark on this device."""
    return FOLDER / f"{name}{'-quick' if quick else ''}-{device()}.json"


def run_benchmark(name: str, quick: S, full: S, measure: Callable[[S, Run], list[Row]]) -> None:
    """Parse the command line, measure what the record lacks, and print the table.

    Args:
        name: of the benchmark.
        quick: settings that take seconds, to see that all works; nothing is compiled, and the numbers say nothing.
        full: settings whose numbers count.
        measure: computes results through `Run.once`, and makes the rows of the table of them.
    """
    chosen = tyro.cli(_options, prog=f"python -m benchmarks.{name}", description="Measure what the record lacks.")
    with torch.compiler.set_stance("force_eager" if chosen else "default"):
        take(name, quick if chosen else full, measure, path_of(name, quick=chosen))


def take(name: str, settings: S, measure: Callable[[S, Run], list[Row]], path: Path) -> Record:
    """Measure, on one thread, what the record at `path` lacks, and print the table.

    One thread: the work is small, and no package is to have more cores than another.
    """
    torch.set_num_threads(1)
    run = Run.open(f"benchmarks.{name}", {"settings": settings, "device": device(), "packages": versions()}, path)
    if not run.finished:
        run.finish(table=measure(settings, run))
    print_table(f"{name.replace('_', ' ')}, {device()}", run.record.summary["table"])
    print(f"record: {path}")
    return run.record


def _options(quick: bool = False) -> bool:
    """What the command line may say.

    Args:
        quick: Only see that all works, in seconds.
    """
    return quick
