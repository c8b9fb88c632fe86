"""Numbers of `experiments.support.deployment` in a record: answers of trained nets under several steppings, by seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from experiments.support.statistics import over_seeds, spread
from odenet.training import Record

Values: TypeAlias = Callable[[Record], list[float]]
"""Function of a record that returns one number for each seed, in the order of the seeds."""


def answered(key: str, statistics: str, way: str, entry: str = "accuracy") -> Values:
    """Return a function that reads an entry in percent.

    Args:
        key: Name of the result without the seed; with "/answers" at its end if that is the result itself.
        statistics: Kind of statistics: running, recalibrated, none or batch.
        way: Name of the stepping.
        entry: Measurement: accuracy, agreement or distance.
    """

    def values(record: Record) -> list[float]:
        if key.endswith("/answers"):
            found = [result for name, result in record.results.items() if name.partition("/")[2] == key]
        else:
            found = over_seeds(record.results, key, "answers")
        return [100 * each[statistics][way][entry] for each in found]

    return values


def lost(key: str, statistics: str, own: str, *ways: str) -> Values:
    """Return a function that reads the largest loss of accuracy under other steppings, in percentage points."""

    def values(record: Record) -> list[float]:
        before = answered(key, statistics, own)(record)
        after = zip(*(answered(key, statistics, way)(record) for way in ways), strict=True)
        return [accuracy - min(others) for accuracy, others in zip(before, after, strict=True)]

    return values


def minus(first: Values, second: Values, factor: float = 1.0) -> Values:
    """Return a function that computes first - factor · second for each seed."""
    return lambda record: [a - factor * b for a, b in zip(first(record), second(record), strict=True)]


def over(first: Values, second: Values) -> Values:
    """Return a function that computes first / second for each seed."""
    return lambda record: [a / b for a, b in zip(first(record), second(record), strict=True)]


def shown(*values: Values, unit: str = "%", joined: str = " → ", digits: int = 1) -> Callable[[Record], str]:
    """Return a function that formats each of the values as `mean ± deviation unit`."""
    end = f" {unit}" if unit else ""
    return lambda record: joined.join(f"{spread(each(record), digits)}{end}" for each in values)
