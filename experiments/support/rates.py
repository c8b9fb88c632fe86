"""Choice of a learning rate on validation data, by trainings with a seed of their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from odenet.training import NonFiniteLoss, Run

TUNING = 2**32 - 1
"""Seed of the trainings whose learning rates are compared; no preset repeats a training with it."""
VALIDATION = 2**32 - 2
"""Seed of the scenes on which they are compared; no training sees them."""


def best_rate(key: str, rates: Sequence[float], score: Callable[[float], float], run: Run) -> float:
    """Return the learning rate with the highest score; a training that diverges has the lowest.

    Args:
        key: Name of what is trained; the scores are results of the run, `rate/KEY/RATE`.
        rates: Learning rates to compare; a single one is returned without a training.
        score: Function that trains with a rate, and returns a metric on validation data.
        run: Run that keeps the scores.
    """
    if len(rates) == 1:
        return rates[0]

    def scored(rate: float) -> dict[str, float]:
        try:
            return {"score": score(rate)}
        except NonFiniteLoss:
            return {"score": -math.inf}

    scores = {rate: run.once(f"rate/{key}/{rate:g}", lambda rate=rate: scored(rate))["score"] for rate in rates}
    return max(scores, key=lambda rate: scores[rate])
