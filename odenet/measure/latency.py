"""Run times: seconds of a forward pass by batch size, and comparison of several functions in alternation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Annotated

import torch
from torch import nn

from odenet.blocks.annotations import MayBeEmpty, WholeFromZero
from odenet.blocks.arguments import checked
from odenet.measure.mode import in_mode

WARM_UP = 3
"""Number of uncounted rounds at first, in which allocators, caches and cuDNN's choice of algorithms settle."""


@checked
def interleaved(
    contestants: Mapping[str, Callable[[], object]], repetitions: int = 51, *, warm_up: WholeFromZero = WARM_UP
) -> dict[str, list[float]]:
    """Measure the seconds of each contestant in each of `repetitions` rounds, after `warm_up` uncounted rounds.

    In a round every contestant runs once, and every second round has the opposite order, so that neither a drift of the
    machine nor a place in the order favours one. CUDA devices are synchronized before and after each run.

    Args:
        contestants: functions to run, by name.
        repetitions: number of counted rounds.
        warm_up: number of uncounted rounds before them.

    Returns:
        For each name, the seconds in each round.

    Raises:
        ValueError: if `repetitions` is below 1.
    """
    if repetitions < 1:
        raise ValueError(f"repetitions = {repetitions}; a median needs at least one counted round: pass 1 or more.")
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for repetition in range(-warm_up, repetitions):
        names = list(contestants)[:: 1 if repetition % 2 else -1]
        for name in names:
            elapsed = _seconds(contestants[name])
            if repetition >= 0:
                seconds[name].append(elapsed)
    return seconds


@checked
def ratio(seconds: Mapping[str, Sequence[float]], name: str, baseline: str) -> float:
    """Return the median over rounds of the ratio of the time of `name` to that of `baseline` in the same round."""
    return median(a / b for a, b in zip(seconds[name], seconds[baseline], strict=True))


@checked
def latencies(
    model: nn.Module,
    shape: Sequence[int],
    batch_sizes: Annotated[Iterable[int], MayBeEmpty()],
    repetitions: int = 11,
    *,
    warm_up: WholeFromZero = WARM_UP,
) -> dict[int, float]:
    """Measure the median seconds of a forward pass by batch size, in evaluation mode and without gradients.

    The throughput in images per second is the batch size divided by this.

    Args:
        model: network, on the device and in the precision to be measured.
        shape: shape of an image, (channels, height, width). The images are noise from a separate generator.
        batch_sizes: numbers of images in a batch.
        repetitions: number of counted passes.
        warm_up: number of uncounted passes before them.
    """
    like = next(model.parameters())
    measured: dict[int, float] = {}
    for size in batch_sizes:
        images = torch.randn(size, *shape, generator=torch.Generator().manual_seed(size)).to(like)
        with in_mode(model, training=False), torch.no_grad():
            seconds = interleaved({"net": lambda images=images: model(images)}, repetitions, warm_up=warm_up)
        measured[size] = median(seconds["net"])
    return measured


def _seconds(work: Callable[[], object]) -> float:
    _wait()
    start = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    """Wait for the GPU, which works asynchronously."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
