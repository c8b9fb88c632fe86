"""Tallies: what a drill tried, and what went wrong in it; a table of them at the end."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeAlias

import pytest

LONG = os.environ.get("ODENET_DRILLS", "") not in ("", "0")
"""Whether the drills are the long ones: `make drills` sets ODENET_DRILLS=1."""

PROPERTY = "drill"
"""The name under which pytest hands tallies to the process that prints."""


@dataclass
class Tally:
    """Counts of a drill."""

    tries: int = 0
    """Kills, damaged or hostile files, solves."""
    lost: int = 0
    """Results that were there before, and not after."""
    torn: int = 0
    """Files of which a part was found."""
    left_over: int = 0
    """Temporary files that were there after the next write."""
    unnoticed: int = 0
    """Damage, hostility or failure without a message that names it."""

    def add(self, other: Tally) -> None:
        """Count what the other one counted too."""
        for entry in fields(self):
            setattr(self, entry.name, getattr(self, entry.name) + getattr(other, entry.name))

    def require_clean(self, what: object = "") -> None:
        """Raise unless there were tries and nothing went wrong in any."""
        assert self.tries > 0, "so that the drill shows something"
        assert self == Tally(self.tries), what


Counting: TypeAlias = Callable[[str], AbstractContextManager[Tally]]


@contextmanager
def tallied(request: pytest.FixtureRequest, drill: str) -> Iterator[Tally]:
    """A tally that goes into the table, whether the test passes or not."""
    tally = Tally()
    try:
        yield tally
    finally:
        request.node.user_properties.append((PROPERTY, (drill, asdict(tally))))


def collected(properties: Iterable[Sequence[Any]]) -> dict[str, Tally]:
    """The tallies among the properties of tests, one for each drill."""
    drills: dict[str, Tally] = defaultdict(Tally)
    for name, value in properties:
        if name == PROPERTY:
            drill, counts = value
            drills[drill].add(Tally(**counts))
    return dict(drills)


def table(drills: dict[str, Tally]) -> list[str]:
    """The lines of the table, and a sum."""
    total = Tally()
    for tally in drills.values():
        total.add(tally)
    names = [entry.name for entry in fields(Tally)]
    width = max(map(len, [*drills, "all"]))
    heading = f"{'drill':{width}}" + "".join(f"{name.replace('_', ' '):>11}" for name in names)
    rows = [
        f"{drill:{width}}" + "".join(f"{getattr(tally, name):>11,}" for name in names)
        for drill, tally in [*sorted(drills.items()), ("all", total)]
    ]
    return [heading, *rows]
