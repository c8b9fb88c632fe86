"""A claim: a sentence that the record of an experiment supports or does not, and how its numbers are read."""

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
    """A sentence that a record supports or does not.

    Attributes:
        text: The claim; a function of the record where the settings are part of it.
        published: Numbers of others, with their source.
        record: Name of the record below `records/`; that of the preset gpu beside it goes first.
        ours: The measured numbers, as text.
        holds: Whether they support the claim.
        machine: "processor" for a claim on what a processor does, whose record no other one replaces.
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
        """The claim as a row of a Markdown table."""
        record = Record.load(self.path)
        verdict = "yes" if self.holds(record) else "**no**"
        return f"| {self.words(record)} | {self.published} | {self.ours(record)} | {verdict} |"


def percent(record: Record, key: str, entry: str = "accuracy") -> list[float]:
    """`entry`, a share, of the results called "seed…/key", in percent: one number a seed."""
    return [100 * value for value in over_seeds(record.results, key, entry)]


def mean(record: Record, key: str, entry: str = "accuracy") -> float:
    """The mean of `percent` over the seeds."""
    return fmean(percent(record, key, entry))


def percentages(*keys: str, entry: str = "accuracy", joined: str = " → ") -> Callable[[Record], str]:
    """Writes `entry` of the results as `mean ± deviation %`, one after the other."""
    return lambda record: joined.join(f"{spread(percent(record, key, entry))} %" for key in keys)


def table(claims: Iterable[Claim]) -> str:
    """The claims as a Markdown table."""
    head = ["| claim | published | ours | holds |", "|---|---|---|---|"]
    return "\n".join([*head, *(claim.row() for claim in claims)])
