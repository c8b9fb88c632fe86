"""Display of the progress of a training: a bar in a terminal, at most one line per epoch in a log, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

from odenet.blocks.extras import Extra
from odenet.training.devices import is_main_process

_SECONDS_BETWEEN_LINES = 600.0


def show_progress(label: str, done: int, total: int, *, quiet: bool = False) -> Progress:
    """Return the display of a training of `total` steps, of which `done` are done.

    Only the main process shows anything, and no process if `quiet`.
    """
    return Progress(label, done, total, shown=not quiet and is_main_process())


class Progress:
    """Display of a training while it runs: a context manager.

    In a terminal it is a bar of `rich` with some facts and the time left. In a log, it is one line at the end of the
    training, and one after an epoch if the last line was written at least ten minutes before.

    Args:
        label: Name of the training.
        done: Number of steps done at the start.
        total: Number of steps of the whole training.
        shown: Whether to show anything.
        get_time: Clock, in seconds.
    """

    def __init__(
        self, label: str, done: int, total: int, *, shown: bool = True, get_time: Callable[[], float] = time.monotonic
    ) -> None:
        with Extra("experiments"):
            from rich import progress as rich

        self._logs, self._get_time, self._last_line = shown and not sys.stdout.isatty(), get_time, get_time()
        self._bar = rich.Progress(
            *(rich.TextColumn("{task.description}"), rich.BarColumn(20), rich.TextColumn("{task.fields[facts]}")),
            *(rich.TimeRemainingColumn(), rich.TextColumn("left")),
            refresh_per_second=4,  # low, because each refresh interrupts the training of a small network
            get_time=get_time,
            disable=self._logs or not shown,
        )
        self._bar.add_task(label, total=total, completed=done, facts="")
        (self._task,) = self._bar.tasks

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def step(self, done: int, facts: str) -> None:
        """Show that `done` steps are done, with some facts."""
        self._bar.update(self._task.id, completed=done, facts=facts)

    def epoch(self, done: int, facts: str) -> None:
        """Show that an epoch has ended."""
        self.step(done, facts)
        now, task = self._get_time(), self._task
        if self._logs and (task.finished or now - self._last_line >= _SECONDS_BETWEEN_LINES):
            self._last_line = now
            when = f"in {_clock(task.elapsed)}" if task.finished else f"{_clock(task.time_remaining)} left"
            print(f"{task.description}  {facts}  {when}".lstrip(), flush=True)


def _clock(seconds: float | None) -> str:
    return "?" if seconds is None else str(timedelta(seconds=round(seconds)))
