"""Claims on learning rates over depth, checked on the record of `learning_rates`."""

from __future__ import annotations

import math
from collections.abc import Callable

from experiments.learning_rates import best, losses
from experiments.support.statistics import spread
from odenet.training import Record
from paper_figs.claims.claim import Claim
from paper_figs.claims.verdict import above, student, within

RECORD = "learning_rates/cpu-digits.json"


def _moves(trained: str, rule: str, first: int = 1) -> Callable[[Record], list[float]]:
    """Return a function: the points of the grid, for each seed, between the smallest and the largest best rate.

    Args:
        trained: Parameters that are trained: all, or flow.
        rule: Name of the rule.
        first: Smallest number of layers that counts.
    """

    def values(record: Record) -> list[float]:
        depths = [pieces for pieces in record.settings["pieces"] if pieces >= first]
        curves = [losses(record, trained, rule, pieces) for pieces in depths]
        found = []
        for seed in range(len(record.settings["seeds"])):
            rates = [best({rate: [of_seeds[seed]] for rate, of_seeds in curve.items()}) for curve in curves]
            found.append(math.log2(max(rates) / min(rates)))
        return found

    return values


def _points(*values: Callable[[Record], list[float]]) -> Callable[[Record], str]:
    return lambda record: ", ".join(f"{spread(each(record))} points" for each in values)


_GRID = -1e-9, 1.5
"""Bounds of a best rate that stays the same within one point of the grid."""

CLAIMS = [
    Claim(
        "All parameters trained: with the rate of the flow × 1/h the best learning rate is the same for 1 to 16 "
        "layers, within one point of a grid of factors of 2",
        "the same (Dey et al. 2025, CompleteP)",
        RECORD,
        _points(_moves("all", "1/h")),
        within(student(_moves("all", "1/h")), *_GRID, "points"),
    ),
    Claim(
        "… and with one rate for all depths it is not",
        "falls or rises with depth (Yang et al. 2023)",
        RECORD,
        _points(_moves("all", "none")),
        above(student(_moves("all", "none")), 1.5, "points"),
    ),
    Claim(
        "The flow alone trained: with 1/h the best learning rate is the same for 1 to 16 layers",
        "–",
        RECORD,
        _points(_moves("flow", "1/h")),
        within(student(_moves("flow", "1/h")), *_GRID, "points"),
        machine="processor",  # the preset of GPUs trains all parameters, by SGD
    ),
    Claim(
        "… and for 2 to 16 layers",
        "–",
        RECORD,
        _points(_moves("flow", "1/h", 2)),
        within(student(_moves("flow", "1/h", 2)), *_GRID, "points"),
        machine="processor",  # the preset of GPUs trains all parameters, by SGD
    ),
    Claim(
        "The flow alone trained by AdamW: with CompleteP it is the same for 1 to 16 layers",
        "the same (Dey et al. 2025)",
        RECORD,
        _points(_moves("flow", "completep")),
        within(student(_moves("flow", "completep")), *_GRID, "points"),
        machine="processor",  # the preset of GPUs trains all parameters, by SGD
    ),
]
