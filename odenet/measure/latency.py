"""How long a network takes: seconds of a forward pass against batch size, and of several contestants side by side."""

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
"""Rounds that do not count: allocators, caches and cuDNN's choice of algorithms settle in them."""


@checked
def interleaved(
    contestants: Mapping[str, Callable[[], object]], repetitions: int = 51, *, warm_up: WholeFromZero = WARM_UP
) -> dict[str, list[float]]:
    """Seconds of each contestant in each of `repetitions` rounds, after `warm_up` rounds that do not count.

    In a round all run once, every second round in the opposite order, so that neither a drift of the machine nor a
    place in the order favours one. A CUDA device is waited for before and after.

    Raises:
        ValueError: no round.
    """
    if repetitions < 1:
        raise ValueError(f"repetitions = {repetitions}; a median needs a round that counts: pass 1 or more.")
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for repetition in range(-warm_up, repetitions):
        names = list(contestants)[:: 1 if repetition % 2 else -1]
        for name in names:
            taken = _seconds(contestants[name])
            if repetition >= 0:
                seconds[name].append(taken)
    return seconds


@checked
def ratio(seconds: Mapping[str, Sequence[float]], name: str, baseline: str) -> float:
    """The median over rounds of the time of `name` over that of `baseline` in the same round."""
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
    """Seconds of a forward pass by batch size: the median of the repetitions, in evaluation mode, without gradients.

    Throughput, in images a second, is the batch size over it.

    Args:
        model: on the device and in the precision that are to be measured.
        shape: of an image, (channels, height, width); its values are noise, which leaves torch's generator alone.
        batch_sizes: images in a batch.
        repetitions: passes that count.
        warm_up: passes before that do not.
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
    """A GPU works on while Python is done: wait for it."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
