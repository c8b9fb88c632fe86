"""Means and standard deviations over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import nan
from statistics import fmean, stdev
from typing import Any


def spread(values: Iterable[float], digits: int = 1) -> str:
    """Return `mean ± standard deviation` of a sample as text, or the mean alone if there is one value.

    >>> spread([90.0, 91.0, 92.0])
    '91.0 ± 1.0'
    """
    sample = list(values)
    mean = f"{fmean(sample):.{digits}f}"
    return mean if len(sample) == 1 else f"{mean} ± {stdev(sample):.{digits}f}"


def evaluated(rows: Iterable[Mapping[str, float]], metric: str = "accuracy") -> list[float]:
    """Return a metric after each epoch of a history: on the validation images, or on the test images without any.

    >>> evaluated([{"validation_loss": 2.0}, {"validation_loss": 1.0, "test_loss": 1.5}], "loss")
    [2.0, 1.0]
    """
    return [row.get(f"validation_{metric}", row.get(f"test_{metric}", nan)) for row in rows]


def over_seeds(results: Mapping[str, Mapping[str, Any]], key: str, entry: str) -> list[Any]:
    """Return `entry` of each result called "seed…/key", in the order of the record.

    >>> over_seeds({"seed0/a": {"x": 1}, "seed1/a": {"x": 2}, "seed0/b": {"x": 3}, "counted/a": {}}, "a", "x")
    [1, 2]
    """
    own = (result for name, result in results.items() if name.startswith("seed") and name.partition("/")[2] == key)
    return [result[entry] for result in own]
