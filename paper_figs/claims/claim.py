"""Claims: sentences that the record of an experiment supports or refutes, and helpers that read its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from experiments.support.statistics import over_seeds, spread
from odenet.training import Record
from paper_figs.support.cards import preferred
from paper_figs.support.command import RECORDS


@dataclass(frozen=True)
class Claim:
    """A sentence that a record supports or refutes.

    Attributes:
        text: Sentence of the claim; a function of the record if the settings are part of it.
        published: Published numbers of others, with their source.
        record: Path of the record, relative to `records/`; the record of the preset `gpu` beside it goes first.
        ours: Function that formats the measured numbers of a record.
        holds: Function that decides whether a record supports the claim.
        machine: "processor" for a claim about a processor, whose record no other record replaces.
    """

    text: str | Callable[[Record], str]
    published: str
    record: str
    ours: Callable[[Record], str]
    holds: Callable[[Record], bool]
    machine: Literal["any", "processor"] = "any"

    @property
    def path(self) -> Path:
        """File of the record that the numbers are read from."""
        own = RECORDS / self.record
        return own if self.machine == "processor" else preferred(own)

    def words(self, record: Record) -> str:
        """Return the claim in words, for the settings of a record."""
        return self.text if isinstance(self.text, str) else self.text(record)

    def row(self) -> str:
        """Return the claim as a row of a Markdown table."""
        record = Record.load(self.path)
        verdict = "yes" if self.holds(record) else "**no**"
        return f"| {self.words(record)} | {self.published} | {self.ours(record)} | {verdict} |"


def percent(record: Record, key: str, entry: str = "accuracy") -> list[float]:
    """Return `entry`, a fraction, of the results named "seed…/key" in percent: one number per seed."""
    return [100 * value for value in over_seeds(record.results, key, entry)]


def mean(record: Record, key: str, entry: str = "accuracy") -> float:
    """Return the mean of `percent` over the seeds."""
    return fmean(percent(record, key, entry))


def percentages(*keys: str, entry: str = "accuracy", joined: str = " → ") -> Callable[[Record], str]:
    """Return a function that formats `entry` of several results of a record as `mean ± deviation %`."""
    return lambda record: joined.join(f"{spread(percent(record, key, entry))} %" for key in keys)


def table(claims: Iterable[Claim]) -> str:
    """Return the claims as a Markdown table."""
    head = ["| claim | published | ours | holds |", "|---|---|---|---|"]
    return "\n".join([*head, *(claim.row() for claim in claims)])
