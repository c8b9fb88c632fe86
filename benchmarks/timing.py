"""Timing contestants against each other on a noisy machine: interleaved, in one process, by medians and ratios."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch


def interleaved(contestants: Mapping[str, Callable[[], object]], repetitions: int = 51) -> dict[str, list[float]]:
    """Seconds of each contestant in each of `repetitions` rounds, after three rounds that do not count.

    In a round all run once, every second round in the opposite order, so that neither a drift of the machine nor a
    place in the order favours one.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for repetition in range(-3, repetitions):
        names = list(contestants)[:: 1 if repetition % 2 else -1]
        for name in names:
            start = time.perf_counter()
            contestants[name]()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if repetition >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: Mapping[str, list[float]], name: str, baseline: str) -> float:
    """The median over rounds of the time of `name` over that of `baseline` in the same round."""
    return median(a / b for a, b in zip(seconds[name], seconds[baseline], strict=True))
