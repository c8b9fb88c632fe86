"""Parts of a run: one after the other, or side by side in processes of their own, into the one record of the run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

from experiments.support.workers import Tell, told
from odenet.training import Record, Run
from odenet.training.progress import show_progress

Part: TypeAlias = Callable[[Run], None]
"""Computes results through `Run.once` that no other part needs; can be pickled, as a `partial` of a function can."""


class PartedRun(Run):
    """A run some parts of which do not need one another's results.

    Attributes:
        jobs: How many parts are computed at a time. 1: one after the other, in this process.
    """

    jobs: int = 1

    def __init__(self, record: Record, path: Path) -> None:
        super().__init__(record, path)
        self._asked: dict[str, None] = {}

    def once(self, key: str, compute: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """As `Run.once`."""
        self._asked[key] = None
        return super().once(key, compute)

    def each(self, parts: Sequence[Part]) -> None:
        """Compute all parts; whichever ends first, the record has their results in the order of `parts` in the end.

        Raises:
            WorkerDied: The process of a part was killed.
            Exception: What a part raised. Results and checkpoints until then are kept.
        """
        keys = self._side_by_side(parts) if min(self.jobs, len(parts)) > 1 else self.keys_of(parts)
        results = self.record.results
        ordered = [key for key in results if key not in set(keys)] + keys
        self.record.results = {key: results[key] for key in ordered}

    def keys_of(self, parts: Sequence[Part]) -> list[str]:
        """Compute the parts one after the other, and return the keys of their results."""
        self._asked = {}
        for part in parts:
            part(self)
        return list(self._asked)

    def _side_by_side(self, parts: Sequence[Part]) -> list[str]:
        tasks, keys = [partial(_elsewhere, part, self.record, self.path) for part in parts], dict[int, list[str]]()
        show = show_progress("", 0, len(parts), quiet=not sys.stdout.isatty())
        with show as progress:
            for number, content in told(tasks, self.jobs):
                if isinstance(content, dict):
                    self.note(content)
                elif isinstance(content, list):
                    keys[number] = content
                    progress.epoch(len(keys), f"{len(keys)} of {len(parts)} parts")
                else:
                    key, result = content
                    self.once(key, lambda result=result: result)
        return [key for number in range(len(parts)) for key in keys[number]]


class _Elsewhere(PartedRun):
    """The run in the process of a part: results go to the process that writes the record."""

    def __init__(self, record: Record, path: Path, tell: Tell) -> None:
        super().__init__(record, path)
        self._tell = tell

    def once(self, key: str, compute: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """As `Run.once`, but that nothing is written here."""
        self._asked[key] = None
        if key not in self.record.results:
            self.record.results[key] = dict(compute())
            self._tell((key, self.record.results[key]))
        return self.record.results[key]

    def note(self, fingerprints: Mapping[str, str | None]) -> None:
        """As `Run.note`, but that the process that writes the record compares them."""
        self.record.made_from.update(fingerprints)
        self._tell(dict(fingerprints))


def _elsewhere(part: Part, record: Record, path: Path, tell: Tell) -> list[str]:
    """Compute a part in this process, tell its new results, and return the keys of all of them."""
    return _Elsewhere(record, path, tell).keys_of([part])


def number_of_jobs(asked: int | Literal["auto"], threads: int | None) -> int:
    """How many parts at a time: as asked, or as many as fill the cores of this machine with `threads` threads each.

    Raises:
        ValueError: Less than one, or several in a process of torchrun.
    """
    if asked != "auto" and asked < 1:
        raise ValueError(f"jobs={asked} cannot be: at least one part is computed at a time; give 1 or more, or auto.")
    if asked != 1 and torch.distributed.is_available() and torch.distributed.is_torchelastic_launched():
        raise ValueError(
            f"jobs={asked} was asked for under torchrun, whose processes share every batch of one training: they have "
            "the cores already; leave jobs at 1, or start the command without torchrun."
        )
    return max(1, _cores() // (threads or 1)) if asked == "auto" else asked


def _cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
