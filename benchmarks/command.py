"""Command line of benchmarks that have a quick form: `python -m benchmarks.NAME [--quick]`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from benchmarks.peers.packages import versions
from experiments.support.endings import ends_in_a_line
from experiments.support.tables import print_table
from odenet.blocks.extras import Extra
from odenet.training import Record, Run

with Extra("experiments"):
    import tyro

FOLDER = Path("runs/benchmarks")
"""Folder of the records."""

Row = dict[str, str]
"""Row of a table: quantity, goal, measured value, and supplementary values ("beside it")."""

S = TypeVar("S")


def device() -> str:
    """Return the device of the benchmarks: the GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def path_of(name: str, *, quick: bool = False) -> Path:
    """Return the path of a benchmark's record for this device."""
    return FOLDER / f"{name}{'-quick' if quick else ''}-{device()}.json"


def run_benchmark(name: str, quick: S, full: S, measure: Callable[[S, Run], list[Row]]) -> None:
    """Parse the command line, measure the results that the record lacks, and print the table.

    Args:
        name: Name of the benchmark.
        quick: Settings that take seconds, to check that everything works; nothing is compiled, so times mean nothing.
        full: Settings of the real measurement.
        measure: Function that computes results through `Run.once` and returns the rows of the table.
    """
    chosen = tyro.cli(_options, prog=f"python -m benchmarks.{name}", description="Measure what the record lacks.")
    stance = torch.compiler.set_stance("force_eager" if chosen else "default")
    with stance, ends_in_a_line(f"benchmarks.{name}", sys.argv[1:], kept="what is measured is kept"):
        take(name, quick if chosen else full, measure, path_of(name, quick=chosen))


def take(name: str, settings: S, measure: Callable[[S, Run], list[Row]], path: Path) -> Record:
    """Measure, on one thread, the results that the record at `path` lacks, and print the table.

    One thread is used since the work is small, and so that no package has more cores than another.
    """
    torch.set_num_threads(1)
    run = Run.open(f"benchmarks.{name}", {"settings": settings, "device": device(), "packages": versions()}, path)
    if not run.finished:
        run.finish(table=measure(settings, run))
    print_table(f"{name.replace('_', ' ')}, {device()}", run.record.summary["table"])
    print(f"record: {path}")
    return run.record


def _options(quick: bool = False) -> bool:
    """Options of the command line.

    Args:
        quick: Only check that everything works, in seconds.
    """
    return quick
