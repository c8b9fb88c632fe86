"""Stand-ins for slices: a clock that moves only when somebody waits, and processes that end when they are told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from experiments.support.slices import Slice
from odenet.training import Record


class FakeClock:
    """Seconds that pass only by sleeping."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        """Seconds since some moment."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds


@dataclass
class Act:
    """What a stand-in does once it has begun: after how many seconds its record is finished, and the process ends."""

    records: float | None = None
    ends: float | None = None
    heeds_sigterm: bool = True


@dataclass
class FakeProcess:
    """A process that follows an act by the clock, and notes what is done to it."""

    clock: FakeClock
    acts: dict[str, Act]
    slices: dict[str, Slice]
    done: list[str] = field(default_factory=list)
    began: float = 0.0
    work: str = ""
    terminated: float | None = None

    def begin(self, command: Sequence[str]) -> None:
        """Begin the act that the command names."""
        self.work, self.began = command[0], self.clock.now()
        self.done.append("begun")

    @property
    def ended(self) -> bool:
        """Whether the act is over."""
        act, passed = self.acts[self.work], self.clock.now() - self.began
        if act.records is not None and passed >= act.records and not self.slices[self.work].record.exists():
            record_of(self.slices[self.work])
        by_signal = self.terminated is not None and act.heeds_sigterm
        return by_signal or (act.ends is not None and passed >= act.ends)

    @property
    def exit_code(self) -> int | None:
        """0 where it recorded, 1 where it did not."""
        return (0 if self.acts[self.work].records is not None else 1) if self.ended else None

    def terminate(self) -> None:
        """Note it."""
        self.terminated = self.clock.now()
        self.done.append("terminated")

    def kill(self) -> None:
        """Note it."""
        self.done.append("killed")

    def output(self) -> str:
        """What it printed."""
        return f"{self.work} says so"


def fake_slice(
    folder: Path, name: str, seconds: float = 10.0, kind: Literal["tests", "experiment", "benchmark"] = "experiment"
) -> Slice:
    """A slice called `name`."""
    return Slice(name, kind, (name,), seconds, folder / f"{name}.json")


def record_of(part: Slice, finished: bool = True) -> None:
    """Write the record of a slice."""
    Record(part.work, "gpu", {}, finished=finished).save(part.record)


def processes(
    clock: FakeClock, acts: dict[str, Act], slices: Sequence[Slice]
) -> tuple[Callable[[], FakeProcess], list[FakeProcess]]:
    """What starts stand-ins, and the list of those that it has started."""
    started: list[FakeProcess] = []

    def start() -> FakeProcess:
        started.append(FakeProcess(clock, acts, {part.work: part for part in slices}))
        return started[-1]

    return start, started
