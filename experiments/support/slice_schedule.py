"""Schedule of slices: it chooses the next slice that fits, and decides when a slice is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from experiments.support.slices import Slice

SLACK = 1.25
"""Factor of the expected seconds that must be left for a slice to begin."""
RESERVE = 20.0
"""Seconds before the deadline in which no slice is expected to run."""
TERMINATE, KILL_AFTER = 15.0, 5.0
"""Seconds before the deadline at which a slice is asked to end, and seconds from then until it is killed."""
GRACE = 2.0
"""Seconds that a process has to end once its record is finished: workers of torch.compile have hung for 300."""
LOOK_EVERY = 0.2
"""Seconds between looks at the process and its record."""


class Process(Protocol):
    """Interface of a process for a schedule; `SliceProcess` implements it."""

    @property
    def ended(self) -> bool: ...  # noqa: D102
    @property
    def exit_code(self) -> int | None: ...  # noqa: D102
    def begin(self, command: Sequence[str]) -> None: ...  # noqa: D102
    def terminate(self) -> None: ...  # noqa: D102
    def kill(self) -> None: ...  # noqa: D102
    def output(self) -> str: ...  # noqa: D102


class Clock(Protocol):
    """Interface of a clock for a schedule; tests replace the machine's."""

    def now(self) -> float: ...  # noqa: D102
    def sleep(self, seconds: float) -> None: ...  # noqa: D102


class MachineClock:
    """Clock of the machine, for use outside tests."""

    def now(self) -> float:
        """Return the seconds since a fixed moment."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait for some seconds."""
        time.sleep(seconds)


@dataclass(frozen=True)
class Outcome:
    """Outcome of a slice: how it ended, how long it took and what it printed."""

    slice: Slice
    expected: float
    """Seconds that were expected when it began."""
    seconds: float
    """Seconds until its record was finished, or until it ended without a finished record."""
    how: Literal["finished", "failed", "interrupted"]
    """Kind of its end: failed if it ended by itself without a finished record, interrupted if the deadline came."""
    exit_code: int | None
    """Exit code of its process; `None` if it had to be killed."""
    output: str
    """Printed output of its processes."""


class Schedule:
    """Runner of slices, one after the other, until the deadline.

    Args:
        slices: Slices in the order of their value.
        start: Function that starts a process which imports the modules of slices and waits for its command.
        deadline: Time, by the clock, at which nothing runs any more.
        clock: Clock of the deadline.
        report: Function that is called with all outcomes after every slice.
    """

    def __init__(
        self,
        slices: Sequence[Slice],
        start: Callable[[], Process],
        deadline: float,
        clock: Clock,
        report: Callable[[list[Outcome]], None],
    ) -> None:
        self._waiting, self._start, self._deadline, self._clock, self._report = (
            list(slices),
            start,
            deadline,
            clock,
            report,
        )
        self.outcomes: list[Outcome] = []

    def run(self) -> list[Outcome]:
        """Run the slices that fit; return their outcomes."""
        running, standby = None, self._start()
        try:
            while (chosen := self.next()) is not None:
                self._waiting.remove(chosen)
                running, standby = standby, self._start()  # it imports torch while this slice computes
                self.outcomes.append(self._outcome(chosen, running))
                running = None
                self._report(self.outcomes)
        finally:
            for process in (running, standby):
                if process is not None:
                    process.kill()
        return self.outcomes

    def next(self) -> Slice | None:
        """Return the first slice that fits into the time left; `None` if none does."""
        left = self._deadline - self._clock.now() - RESERVE
        return next((waiting for waiting in self._waiting if SLACK * self.expected(waiting) <= left), None)

    def expected(self, asked: Slice) -> float:
        """Return the expected seconds: those of finished slices of the same work, or else the scaled estimate.

        The scale is measured over estimated seconds of the finished slices of the same kind, because tests, experiments
        and benchmarks are estimated in different ways.
        """
        finished = [outcome for outcome in self.outcomes if outcome.how == "finished"]
        if same := [outcome.seconds for outcome in finished if outcome.slice.work == asked.work]:
            return max(same)
        alike = [outcome for outcome in finished if outcome.slice.kind == asked.kind]
        estimated = sum(outcome.slice.seconds for outcome in alike)
        return asked.seconds * (sum(outcome.seconds for outcome in alike) / estimated if alike else 1.0)

    def _outcome(self, chosen: Slice, process: Process) -> Outcome:
        """Run a slice until its process ends, the grace after its finished record is over, or the deadline comes."""
        expected, begun, interrupted = self.expected(chosen), self._clock.now(), False
        is_finished, finished_at = chosen.watch(), None
        process.begin(chosen.command)
        while not process.ended:
            now = self._clock.now()
            if finished_at is None and is_finished():
                finished_at = now
            if finished_at is not None and now - finished_at >= GRACE:
                break
            if now >= self._deadline - TERMINATE:
                interrupted = True
                self._end(process)
                break
            self._clock.sleep(LOOK_EVERY)
        code, seconds = process.exit_code, (finished_at or self._clock.now()) - begun
        process.kill()
        how = "finished" if is_finished() else "interrupted" if interrupted else "failed"
        return Outcome(chosen, expected, seconds, how, code, process.output())

    def _end(self, process: Process) -> None:
        """Ask a process to end, and wait up to KILL_AFTER seconds."""
        process.terminate()
        until = self._clock.now() + KILL_AFTER
        while not process.ended and self._clock.now() < until:
            self._clock.sleep(LOOK_EVERY)
