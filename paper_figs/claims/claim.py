"""A claim: a sentence that the record of an experiment supports or does not, and how its numbers are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean

from experiments.support.statistics import over_seeds, spread
from odenet.training import Record
from paper_figs.support.command import RECORDS


@dataclass(frozen=True)
class Claim:
    """A sentence that a record supports or does not.

    Attributes:
        text: The claim.
        published: Numbers of others, with their source.
        record: Below `records/`.
        ours: The measured numbers, as text.
        holds: Whether they support the claim.
    """

    text: str
    published: str
    record: str
    ours: Callable[[Record], str]
    holds: Callable[[Record], bool]

    def row(self) -> str:
        """The claim as a row of a Markdown table."""
        record = Record.load(RECORDS / self.record)
        verdict = "yes" if self.holds(record) else "**no**"
        return f"| {self.text} | {self.published} | {self.ours(record)} | {verdict} |"


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
