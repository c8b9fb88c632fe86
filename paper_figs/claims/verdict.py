"""Verdicts on claims: each holds, fails or is undecided, by confidence intervals over seeds or repetitions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal, NamedTuple, TypeAlias

from odenet.blocks.extras import Extra
from odenet.training import Record

with Extra("figures"):
    from scipy import stats

CONFIDENCE = 0.95
"""Confidence of every interval."""

Verdict: TypeAlias = Literal["holds", "fails", "undecided"]
Values: TypeAlias = Callable[[Record], Iterable[float]]


class Interval(NamedTuple):
    """Confidence interval of a quantity."""

    low: float
    high: float


Estimate: TypeAlias = Callable[[Record], Interval | None]
"""Function that returns the interval of a quantity of a record; None if the record has too few values for one."""


def student(values: Values) -> Estimate:
    """Return Student's t interval of a mean, from one value per seed or repetition.

    A comparison gives the difference of each pair, so that what both share with their seed cancels.
    """
    return lambda record: _student(list(values(record)))


def ratio(values: Values) -> Estimate:
    """Return the interval of a geometric mean, which is Student's t interval of the logarithms; none with a 0 or ∞."""

    def estimate(record: Record) -> Interval | None:
        sample = list(values(record))
        if not all(0 < value < math.inf for value in sample):
            return None
        found = _student([math.log(value) for value in sample])
        return found and Interval(math.exp(found.low), math.exp(min(found.high, 700.0)))  # no overflow

    return estimate


def correlation(points: Callable[[Record], tuple[Sequence[float], Sequence[float]]]) -> Estimate:
    """Return the interval of Pearson's correlation of two samples, by Fisher's transformation; from four points on."""

    def estimate(record: Record) -> Interval | None:
        x, y = points(record)
        if len(x) < 4 or len(set(x)) == 1 or len(set(y)) == 1:
            return None
        return Interval(*map(float, stats.pearsonr(x, y).confidence_interval(CONFIDENCE)))

    return estimate


def slope(points: Callable[[Record], tuple[Sequence[float], Sequence[float]]]) -> Estimate:
    """Return the interval of the slope of a line fitted by least squares; from three points on."""

    def estimate(record: Record) -> Interval | None:
        x, y = points(record)
        if len(x) < 3 or len(set(x)) == 1:
            return None
        fitted, _, _, _, error = map(float, stats.linregress(x, y))  # pyright: ignore[reportArgumentType]
        width = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(x) - 2)) * error
        return Interval(fitted - width, fitted + width)

    return estimate


@dataclass(frozen=True)
class Condition:
    """Condition that a quantity lies between two bounds; it is decided where the whole interval is on one side.

    Attributes:
        interval: Function that estimates the quantity from a record.
        low: Lower bound.
        high: Upper bound.
        unit: Unit of the quantity.
    """

    interval: Estimate
    low: float = -math.inf
    high: float = math.inf
    unit: str = ""

    def verdict(self, record: Record) -> Verdict:
        """Return whether the interval lies within the bounds (holds), outside (fails) or across one (undecided)."""
        found = self.interval(record)
        if found is None or any(map(math.isnan, found)):
            return "undecided"
        if self.low < found.low and found.high < self.high:
            return "holds"
        return "fails" if found.high <= self.low or found.low >= self.high else "undecided"

    def words(self, record: Record) -> str:
        """Return the interval and the bounds in words."""
        found = self.interval(record)
        measured = "one value" if found is None else " to ".join(map(_short, found)) + (self.unit and f" {self.unit}")
        if -math.inf < self.low and self.high < math.inf:
            return f"{measured}; must be {_short(self.low)} to {_short(self.high)}"
        bound = f"> {_short(self.low)}" if self.high == math.inf else f"< {_short(self.high)}"
        return f"{measured}; must be {bound}"


def above(interval: Estimate, bound: float, unit: str = "") -> Condition:
    """Return the condition that a quantity is larger than `bound`."""
    return Condition(interval, low=bound, unit=unit)


def below(interval: Estimate, bound: float, unit: str = "") -> Condition:
    """Return the condition that a quantity is smaller than `bound`."""
    return Condition(interval, high=bound, unit=unit)


def within(interval: Estimate, low: float, high: float, unit: str = "") -> Condition:
    """Return the condition of an equivalence: a quantity lies between two bounds."""
    return Condition(interval, low, high, unit)


@dataclass(frozen=True)
class Exact:
    """Condition on numbers without chance, which needs no interval.

    Attributes:
        true: Function that decides the condition on a record.
        kind: "equality", of logits or numbers of parameters; or "count", of operations, parameters or bytes.
    """

    true: Callable[[Record], bool]
    kind: Literal["equality", "count"] = "equality"

    def verdict(self, record: Record) -> Verdict:
        """Return whether the condition is true."""
        return "holds" if self.true(record) else "fails"

    def words(self, record: Record) -> str:  # noqa: ARG002 (as a Condition has it)
        """Return why there is no interval."""
        return f"exact ({self.kind})"


Part: TypeAlias = Condition | Exact
_ORDER: tuple[Verdict, ...] = ("fails", "undecided", "holds")


def deciding(parts: Sequence[Part], record: Record) -> Part:
    """Return the part of a claim that decides it: the first that fails, or else is undecided, or else holds."""
    return min(parts, key=lambda part: _ORDER.index(part.verdict(record)))


def _student(sample: Sequence[float]) -> Interval | None:
    if len(sample) < 2:
        return None
    width = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(sample) - 1)) * stdev(sample) / math.sqrt(len(sample))
    return Interval(fmean(sample) - width, fmean(sample) + width)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
