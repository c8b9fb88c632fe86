"""Contestants side by side within a budget of seconds, also those that run in a process of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Protocol, runtime_checkable

from odenet.measure import interleaved

FEWEST, MOST = 3, 51
"""Rounds that count."""


@runtime_checkable
class TimesItself(Protocol):
    """A contestant in another process, which knows its seconds without those of the way there and back."""

    @property
    def seconds(self) -> list[float]:
        """Of every call so far."""
        ...


def side_by_side(contestants: Mapping[str, Callable[[], object]], budget: float) -> dict[str, list[float]]:
    """Seconds of each contestant in each round of `interleaved`, as many rounds as `budget` seconds allow.

    A round before them, in which compilers work, does not count; the first that does says how long a round takes.
    """
    first = interleaved(contestants, 1, warm_up=1)
    one_round = sum(taken for (taken,) in first.values())
    rounds = min(MOST, max(FEWEST, int(budget / one_round)))
    others = interleaved(contestants, rounds - 1, warm_up=0)
    own = {name: work.seconds[-rounds:] for name, work in contestants.items() if isinstance(work, TimesItself)}
    return {name: first[name] + others[name] for name in contestants} | own


def milliseconds(seconds: Sequence[float]) -> str:
    """The median, for a table."""
    return f"{1e3 * median(seconds):.3g} ms"
