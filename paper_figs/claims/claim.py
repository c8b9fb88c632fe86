"""Claims: sentences that the record of an experiment supports or refutes, and helpers that read its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean

from experiments.support.statistics import over_seeds, spread
from odenet.training import Record
from paper_figs.support.command import RECORDS


@dataclass(frozen=True)
class Claim:
    """A sentence that a record supports or refutes.

    Attributes:
        text: Sentence of the claim.
        published: Published numbers of others, with their source.
        record: Path of the record, relative to `records/`.
        ours: Function that formats the measured numbers of a record.
        holds: Function that decides whether a record supports the claim.
    """

    text: str
    published: str
    record: str
    ours: Callable[[Record], str]
    holds: Callable[[Record], bool]

    def row(self) -> str:
        """Return the claim as a row of a Markdown table."""
        record = Record.load(RECORDS / self.record)
        verdict = "yes" if self.holds(record) else "**no**"
        return f"| {self.text} | {self.published} | {self.ours(record)} | {verdict} |"


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
