"""Timing of contestants in turn within a budget of seconds, including those that run in their own process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Protocol, runtime_checkable

from odenet.measure import interleaved

FEWEST, MOST = 3, 51
"""Smallest and largest number of measured rounds."""


@runtime_checkable
class TimesItself(Protocol):
    """A contestant in another process that reports its own seconds, without those of the communication."""

    @property
    def seconds(self) -> list[float]:
        """Seconds of every call so far."""
        ...


def side_by_side(contestants: Mapping[str, Callable[[], object]], budget: float) -> dict[str, list[float]]:
    """Measure the seconds of each contestant in rounds of `interleaved`, as many as `budget` seconds allow.

    A warm-up round, in which compilers work, is not counted; the first measured round gives the time of a round.
    """
    first = interleaved(contestants, 1, warm_up=1)
    one_round = sum(taken for (taken,) in first.values())
    rounds = min(MOST, max(FEWEST, int(budget / one_round)))
    others = interleaved(contestants, rounds - 1, warm_up=0)
    own = {name: work.seconds[-rounds:] for name, work in contestants.items() if isinstance(work, TimesItself)}
    return {name: first[name] + others[name] for name in contestants} | own


def milliseconds(seconds: Sequence[float]) -> str:
    """Format the median in milliseconds, for a table."""
    return f"{1e3 * median(seconds):.3g} ms"
