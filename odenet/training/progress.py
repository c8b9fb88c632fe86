"""Progress: how a training shows where it is: a bar in a terminal, a line in a log, or nothing."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from odenet.training.devices import is_main_process

_SECONDS_BETWEEN_LINES = 600.0
_SECONDS_BETWEEN_DRAWINGS = 0.1


def show_progress(label: str, done: int, total: int, *, quiet: bool = False) -> Progress:
    """The progress of a training of `total` steps, `done` of them behind it, that suits where standard output goes.

    Only the main process shows anything, and with `quiet` none does.
    """
    if quiet or not is_main_process():
        return Silence(label, done, total)
    return Bar(label, done, total) if sys.stdout.isatty() else Lines(label, done, total)


class Progress(ABC):
    """What a training tells while it runs; a context manager.

    Args:
        label: What is trained.
        done: Steps behind it when it starts, or goes on.
        total: Steps in all.
    """

    def __init__(self, label: str, done: int, total: int) -> None:
        self.label, self.first, self.total = label, done, total

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def step(self, done: int, facts: str) -> None:
        """`done` steps are behind it, and `facts` hold."""

    @abstractmethod
    def epoch(self, done: int, facts: str) -> None:
        """An epoch has ended, with `facts`."""

    @abstractmethod
    def close(self) -> None:
        """Show no more."""


class Silence(Progress):
    """Nothing."""

    def step(self, done: int, facts: str) -> None:
        """Nothing."""

    def epoch(self, done: int, facts: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Lines(Progress):
    """A line when the training ends, with its time, and one every ten minutes before, with the time left: for logs."""

    def __init__(self, label: str, done: int, total: int) -> None:
        super().__init__(label, done, total)
        self._start = self._last = time.monotonic()

    def step(self, done: int, facts: str) -> None:
        """A line, if the last one was long ago."""
        if time.monotonic() - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            left = (self._last - self._start) * (self.total - done) / max(1, done - self.first)
            self._say(facts, f"{clock(left)} left")

    def epoch(self, done: int, facts: str) -> None:
        """The last line, or one if the last one was long ago."""
        if done < self.total:
            self.step(done, facts)
        else:
            self._say(facts, f"in {clock(time.monotonic() - self._start)}")

    def close(self) -> None:
        """Nothing: every line is complete."""

    def _say(self, facts: str, when: str) -> None:
        print(f"{self.label}  {facts}  {when}".lstrip(), flush=True)


class Bar(Progress):
    """A bar of `rich` with the facts and the time left: for terminals."""

    def __init__(self, label: str, done: int, total: int) -> None:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        super().__init__(label, done, total)
        columns = (TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[facts]}"))
        # Each refresh takes the interpreter from a training of small networks; four a second are enough to look at.
        self._rich = RichProgress(*columns, TimeRemainingColumn(), TextColumn("left"), refresh_per_second=4)
        self._bar = self._rich.add_task(label, total=total, completed=done, facts="")
        self._last = 0.0

    def __enter__(self) -> Self:
        self._rich.start()
        return self

    def step(self, done: int, facts: str) -> None:
        """Move the bar, if it was long enough where it is."""
        if time.monotonic() - self._last >= _SECONDS_BETWEEN_DRAWINGS:
            self.epoch(done, facts)

    def epoch(self, done: int, facts: str) -> None:
        """Move the bar."""
        self._last = time.monotonic()
        self._rich.update(self._bar, completed=done, facts=facts)

    def close(self) -> None:
        """Leave the bar as it is, and give the terminal back."""
        self._rich.stop()


def clock(seconds: float) -> str:
    """A length of time as h:mm:ss.

    >>> clock(3725.2)
    '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
