"""The part of the records that README.md shows: its picture, the findings that matter most, and three benchmarks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from odenet.training import Record
from paper_figs.claims.claim import Claim, table
from paper_figs.support.cards import cards
from paper_figs.support.command import FIGURES

Found = TypeVar("Found")

MAIN = "depth_refinement"
FINDINGS = (
    (MAIN, "Trained with h = 1, a ResNet"),
    (MAIN, "Most of that is BatchNorm's"),
    ("solver_swap", "A net trained with mixed steps"),
    ("to_continuous", "The ODE-Net is as accurate as the ResNet"),
    ("to_continuous", "And it saves memory in training"),
)
"""Claims of the README: the experiment and the beginning of the sentence."""

BENCHMARKS = (
    ("fixed_steps", "training step, (8, 16, 14, 14), 16 blocks"),
    ("adaptive", "Van der Pol, batch 256, gradient"),
    ("gradients", "Reversible(): peak memory at 1,024 steps"),
)
"""Rows of the README: the benchmark and the beginning of the quantity."""


def picture(claims: Mapping[str, Sequence[Claim]]) -> str:
    """Return the figure of the main experiment as a Markdown image."""
    path = claims[MAIN][0].path
    return f"![Accuracy and distance from the exact flow over the step size h]({FIGURES}/{MAIN}-{path.stem}.png)"


def findings(claims: Mapping[str, Sequence[Claim]]) -> str:
    """Return the claims of the README as a Markdown table, and how many of all claims have each verdict."""
    recorded = {name: [claim for claim in own if claim.path.exists()] for name, own in claims.items()}
    words = {name: [(claim.words(Record.load(claim.path)), claim) for claim in recorded[name]] for name, _ in FINDINGS}
    chosen = [_only(start, words[name], f"claims on {name}") for name, start in FINDINGS]
    verdicts = Counter(claim.verdict(Record.load(claim.path)) for own in recorded.values() for claim in own)
    tally = f"Of all {verdicts.total()} claims, {verdicts['holds']} hold, {verdicts['fails']} fail, and "
    return f"{table(chosen)}\n\n{tally}{verdicts['undecided']} are undecided: [docs/results.md](docs/results.md)."


def benchmark_lines(record_of: Callable[[str], Record]) -> str:
    """Return the benchmarks of the README as a Markdown table; a row that a GPU measured names the card.

    Args:
        record_of: Function that returns the record of a benchmark.
    """
    rows = []
    for name, start in BENCHMARKS:
        record = record_of(name)
        row = _only(start, [(row["quantity"], row) for row in record.summary["table"]], f"rows of {name}")
        rows.append({**row, "beside it": "; ".join([row["beside it"], *cards(record)])})
    return "\n".join(markdown(rows))


def _only(start: str, found: Sequence[tuple[str, Found]], kind: str) -> Found:
    """Return what belongs to the one text that begins with `start`."""
    matching = [value for text, value in found if text.startswith(start)]
    if len(matching) != 1:
        known = "; ".join(text for text, _ in found)
        raise ValueError(
            f"README.md shows {start!r}, but {len(matching)} {kind} begin so: change it in {__name__} to the beginning "
            f"of one of these: {known}."
        )
    return matching[0]


def markdown(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    head = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    return [*head, *("| " + " | ".join(row.values()) + " |" for row in rows)]
