"""Claims on single-label and multi-label classification, checked on the record of `categorization`."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from experiments.support.statistics import over_seeds
from odenet.training import Record
from paper_figs.claims.claim import Claim, differences, percent, percentages
from paper_figs.claims.verdict import Exact, above, below, student

RECORD = "categorization/cpu-scenes.json"


def _fall(fewer: int) -> Callable[[Record], list[float]]:
    """Return a function: points lost with `fewer` + 2 classes in the scene instead of one less, by seed."""

    def fall(record: Record) -> list[float]:
        curves = over_seeds(record.results, "net/label", "by_visible_classes")
        return [100 * (rows[fewer]["accuracy"] - rows[fewer + 1]["accuracy"]) for rows in curves]

    return fall


def _never_all(record: Record) -> bool:
    """Whether a net with one label never has all labels of a scene with two classes or more."""
    return all(share == 0 for share in _shares(record, "label", "subset_accuracy")[1:])


def _shares(record: Record, question: str, entry: str) -> list[float]:
    """Return the correct answers of a net in percent, by the number of classes in the scene, averaged over seeds."""
    curves = over_seeds(record.results, f"net/{question}", "by_visible_classes")
    return [100 * fmean(row[entry] for row in rows) for rows in zip(*curves, strict=True)]


def _written(shares: list[float]) -> str:
    return " → ".join(f"{share:.1f}" for share in shares) + " %"


CLAIMS = [
    Claim(
        "Regression on pixels does not see what is in a scene: one label, softmax, then a small ResNet",
        "–",
        RECORD,
        percentages("regression/label", "net/label"),
        (
            below(student(lambda r: percent(r, "regression/label")), 60, "%"),
            above(student(differences("net/label", "regression/label")), 10, "points"),
        ),
    ),
    Claim(
        "A net trained on one label does not know what else is there: mAP, trained on one label and on many",
        "–",
        RECORD,
        percentages("net/label", "net/labels", entry="mAP"),
        above(student(differences("net/labels", "net/label", "mAP")), 0, "points"),
    ),
    Claim(
        "… and a net trained on many does not know which is the one: accuracy",
        "–",
        RECORD,
        percentages("net/label", "net/labels"),
        above(student(differences("net/label", "net/labels")), 0, "points"),
    ),
    Claim(
        "The one label is harder the more classes are in the scene (1 → 2 → 3)",
        "–",
        RECORD,
        lambda r: _written(_shares(r, "label", "accuracy")),
        (above(student(_fall(0)), 0, "points"), above(student(_fall(1)), 0, "points")),
    ),
    Claim(
        "All labels right (1 → 2 → 3 classes): with two classes or more, one label is never all",
        "–",
        RECORD,
        lambda r: (
            f"{_written(_shares(r, 'labels', 'subset_accuracy'))}, trained on one label "
            f"{_written(_shares(r, 'label', 'subset_accuracy'))}"
        ),
        (above(student(differences("net/labels", "net/label", "subset_accuracy")), 0, "points"), Exact(_never_all)),
    ),
]
