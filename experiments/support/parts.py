"""Parts of a run, computed one after the other or in parallel processes, with one record of the run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

from experiments.support.logs import LogName, loggers
from experiments.support.workers import Send, run_tasks
from odenet.training import History, Record, Run
from odenet.training.progress import show_progress

Part: TypeAlias = Callable[[Run], None]
"""Function that computes results through `Run.once`, needs none of another part, and can be pickled."""


class PartedRun(Run):
    """Run with parts that do not need one another's results.

    Attributes:
        jobs: Number of parts that are computed at a time. With 1 they run one after the other, in this process.
        log: Names of the logs that each training leaves beside the record.
    """

    jobs: int = 1
    log: tuple[LogName, ...] = ()

    def __init__(self, record: Record, path: Path) -> None:
        super().__init__(record, path)
        self._requested: dict[str, None] = {}

    def once(self, key: str, compute: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Return a result of the record, or compute it, as `Run.once` does."""
        self._requested[key] = None
        return super().once(key, compute)

    def fit(self, key: str, *parts: Any, **options: Any) -> History:
        """Train a network with a checkpoint beside the record, as `Run.fit` does, and with logs of its epochs."""
        if self.log and not self.finished:
            options = {"loggers": loggers(self.log, self.path, key)} | options
        return super().fit(key, *parts, **options)

    def each(self, parts: Sequence[Part]) -> None:
        """Compute all parts; at the end, the record has their results in the order of `parts`, whichever ended first.

        Raises:
            WorkerDied: if the process of a part was killed.
            Exception: if a part raised it. Results and checkpoints up to then are kept.
        """
        keys = self._compute_in_parallel(parts) if min(self.jobs, len(parts)) > 1 else self.compute_in_order(parts)
        results = self.record.results
        ordered = [key for key in results if key not in set(keys)] + keys
        self.record.results = {key: results[key] for key in ordered}

    def compute_in_order(self, parts: Sequence[Part]) -> list[str]:
        """Compute the parts one after the other, and return the keys of their results."""
        self._requested = {}
        for part in parts:
            part(self)
        return list(self._requested)

    def _compute_in_parallel(self, parts: Sequence[Part]) -> list[str]:
        tasks = [partial(_compute_part, part, self.record, self.path, self.log) for part in parts]
        keys = dict[int, list[str]]()
        show = show_progress("", 0, len(parts), quiet=not sys.stdout.isatty())
        with show as progress:
            for number, content in run_tasks(tasks, self.jobs):
                if isinstance(content, dict):  # fingerprints
                    self.note(content)
                elif isinstance(content, list):
                    keys[number] = content
                    progress.epoch(len(keys), f"{len(keys)} of {len(parts)} parts")
                else:
                    key, result = content
                    self.once(key, lambda result=result: result)
        return [key for number in range(len(parts)) for key in keys[number]]


class _WorkerRun(PartedRun):
    """Run in the process of a part, which sends its results to the process that writes the record."""

    def __init__(self, record: Record, path: Path, log: tuple[LogName, ...], send: Send) -> None:
        super().__init__(record, path)
        self._send, self.log = send, log

    def once(self, key: str, compute: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Return a result, or compute it and send it to the process that writes the record."""
        self._requested[key] = None
        if key not in self.record.results:
            self.record.results[key] = dict(compute())
            self._send((key, self.record.results[key]))
        return self.record.results[key]

    def note(self, fingerprints: Mapping[str, str | None]) -> None:
        """Send fingerprints to the process that writes the record, which compares them."""
        self.record.made_from.update(fingerprints)
        self._send(dict(fingerprints))


def _compute_part(part: Part, record: Record, path: Path, log: tuple[LogName, ...], send: Send) -> list[str]:
    """Compute a part in this process, send its new results, and return the keys of all its results."""
    return _WorkerRun(record, path, log, send).compute_in_order([part])


def number_of_jobs(asked: int | Literal["auto"], threads: int | None) -> int:
    """Return the number of parts at a time: `asked`, or for auto as many as fill the cores with `threads` threads each.

    Raises:
        ValueError: if `asked` is less than one, or is not one in a process of torchrun.
    """
    if asked != "auto" and asked < 1:
        raise ValueError(
            f"jobs must be ≥ 1 or auto, got {asked}: at least one part is computed at a time; give such a number."
        )
    if asked != 1 and torch.distributed.is_available() and torch.distributed.is_torchelastic_launched():
        raise ValueError(
            f"jobs={asked} was asked for under torchrun, whose processes share every batch of one training and occupy "
            "the cores already: leave jobs at 1, or start the command without torchrun."
        )
    return max(1, _cores() // (threads or 1)) if asked == "auto" else asked


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
