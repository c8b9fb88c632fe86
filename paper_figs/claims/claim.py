"""Claims: sentences that the record of an experiment supports, refutes or leaves open, and its numbers by seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from experiments.support.statistics import over_seeds, spread
from odenet.training import Record
from paper_figs.claims.verdict import Part, Verdict, deciding
from paper_figs.support.cards import preferred
from paper_figs.support.command import RECORDS


@dataclass(frozen=True)
class Claim:
    """A sentence that a record supports, refutes or leaves undecided.

    Attributes:
        text: Sentence of the claim; a function of the record if the settings are part of it.
        published: Published numbers of others, with their source.
        record: Path of the record, relative to `records/`; the record of the preset `gpu` beside it goes first.
        ours: Function that formats the measured numbers of a record.
        parts: Conditions that must all hold; the claim fails if one of them fails.
        lacks: Reason for which no numbers of such a record decide the claim, or a function of the record.
        gpu: Budget on a GPU that would decide the claim, where a processor cannot.
        machine: "processor" for a claim about a processor, whose record no other record replaces.
    """

    text: str | Callable[[Record], str]
    published: str
    record: str
    ours: Callable[[Record], str]
    parts: Part | tuple[Part, ...]
    lacks: str | Callable[[Record], str] = ""
    gpu: str = ""
    machine: Literal["any", "processor"] = "any"

    @property
    def path(self) -> Path:
        """File of the record that the numbers are read from."""
        own = RECORDS / self.record
        return own if self.machine == "processor" else preferred(own)

    def words(self, record: Record) -> str:
        """Return the claim in words, for the settings of a record."""
        return self.text if isinstance(self.text, str) else self.text(record)

    def verdict(self, record: Record) -> Verdict:
        """Return the verdict of a record on the claim."""
        return "undecided" if self._lacks(record) else deciding(self._parts, record).verdict(record)

    @property
    def _parts(self) -> tuple[Part, ...]:
        return self.parts if isinstance(self.parts, tuple) else (self.parts,)

    def _lacks(self, record: Record) -> str:
        return self.lacks if isinstance(self.lacks, str) else self.lacks(record)

    def row(self) -> str:
        """Return the claim as a row of a Markdown table."""
        record = Record.load(self.path)
        verdict, why = self.verdict(record), self._lacks(record) or deciding(self._parts, record).words(record)
        shown = "**fails**" if verdict == "fails" else verdict
        budget = f" (GPU: {self.gpu})" if self.gpu and verdict == "undecided" else ""
        return f"| {self.words(record)} | {self.published} | {self.ours(record)} | {why} | {shown}{budget} |"


def percent(record: Record, key: str, entry: str = "accuracy") -> list[float]:
    """Return `entry`, a fraction, of the results named "seed…/key" in percent: one number per seed."""
    return [100 * value for value in over_seeds(record.results, key, entry)]


def pairs(
    record: Record, first: str, second: str, entry: str = "accuracy", other: str | None = None
) -> list[tuple[float, float]]:
    """Return pairs of two results with the same seed, "seed…/first" and "seed…/second", in the order of the record.

    Args:
        record: Record with the results.
        first: Name of the first result, without the seed.
        second: Name of the second result.
        entry: Entry of the first result.
        other: Entry of the second result; by default the same.
    """
    seeds = [name.partition("/")[0] for name in record.results if name.startswith("seed")]
    keys = [(f"{seed}/{first}", f"{seed}/{second}") for seed in dict.fromkeys(seeds)]
    found = record.results
    return [(found[a][entry], found[b][other or entry]) for a, b in keys if a in found and b in found]


def quotients(pairs: Iterable[tuple[float, float]]) -> list[float]:
    """Return a / b of each pair (a, b), infinite where b is 0."""
    return [a / b if b else math.inf for a, b in pairs]


def differences(
    first: str, second: str, entry: str = "accuracy", other: str | None = None
) -> Callable[[Record], list[float]]:
    """Return a function of a record: first - second for each seed, in percentage points; see `pairs`."""
    return lambda record: [100 * (a - b) for a, b in pairs(record, first, second, entry, other)]


def mean(record: Record, key: str, entry: str = "accuracy") -> float:
    """Return the mean of `percent` over the seeds."""
    return fmean(percent(record, key, entry))


def percentages(*keys: str, entry: str = "accuracy", joined: str = " → ") -> Callable[[Record], str]:
    """Return a function that formats `entry` of several results of a record as `mean ± deviation %`."""
    return lambda record: joined.join(f"{spread(percent(record, key, entry))} %" for key in keys)


def table(claims: Iterable[Claim]) -> str:
    """Return the claims as a Markdown table."""
    head = ["| claim | published | ours | 95 % interval | verdict |", "|---|---|---|---|---|"]
    return "\n".join([*head, *(claim.row() for claim in claims)])
