"""Claims on single-label and multi-label classification, checked on the record of `categorization`."""

from __future__ import annotations

from statistics import fmean

from experiments.support.statistics import over_seeds
from odenet.training import Record
from paper_figs.claims.claim import Claim, mean, percentages

RECORD = "categorization/cpu-scenes.json"


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
        lambda r: mean(r, "regression/label") < 60 and mean(r, "net/label") > mean(r, "regression/label") + 10,
    ),
    Claim(
        "A net trained on one label does not know what else is there: mAP, trained on one label and on many",
        "–",
        RECORD,
        percentages("net/label", "net/labels", entry="mAP"),
        lambda r: mean(r, "net/label", "mAP") < mean(r, "net/labels", "mAP"),
    ),
    Claim(
        "… and a net trained on many does not know which is the one: accuracy",
        "–",
        RECORD,
        percentages("net/label", "net/labels"),
        lambda r: mean(r, "net/label") > mean(r, "net/labels"),
    ),
    Claim(
        "The one label is harder the more classes are in the scene (1 → 2 → 3)",
        "–",
        RECORD,
        lambda r: _written(_shares(r, "label", "accuracy")),
        lambda r: _shares(r, "label", "accuracy") == sorted(_shares(r, "label", "accuracy"), reverse=True),
    ),
    Claim(
        "All labels right (1 → 2 → 3 classes): with two classes or more, one label is never all",
        "–",
        RECORD,
        lambda r: (
            f"{_written(_shares(r, 'labels', 'subset_accuracy'))}, trained on one label "
            f"{_written(_shares(r, 'label', 'subset_accuracy'))}"
        ),
        lambda r: all(
            many > one == 0
            for many, one in zip(
                _shares(r, "labels", "subset_accuracy")[1:], _shares(r, "label", "subset_accuracy")[1:], strict=True
            )
        ),
    ),
]
