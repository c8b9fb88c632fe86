"""Schedules of the learning rate as pure functions of the step, so that a resumed training has nothing to restore."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from odenet.blocks.errors import unknown_name
from odenet.training.settings import Training

_CUT = 0.1
"""Factor by which a milestone multiplies the learning rate (He et al. 2015, section 3.4)."""


@dataclass(frozen=True)
class Schedule:
    """Learning rate η(k) = lr · min(1, (k + 1) / w) · shape at step k of n, with w = warmup · n steps of warm-up.

    With s = k/n the completed share of the training, and r = (k - w) / (n - w) that of the part after warm-up:

    | name | shape |
    |---|---|
    | constant | 1 |
    | cosine | (1 + cos πr) / 2 (Loshchilov & Hutter 2017, one cycle) |
    | one-cycle | 1 - r (Smith & Topin 2017, piecewise linear, without their cycle of the momentum) |
    | steps | a tenth for every milestone ≤ s (He et al. 2015) |

    η is positive in every step.

    Attributes:
        settings: Settings, of which `lr`, `schedule`, `warmup` and `milestones` are used.
        steps: Number of steps n over all epochs.

    >>> schedule = Schedule(Training(lr=0.4, schedule="one-cycle", warmup=0.5), steps=8)
    >>> [round(schedule(step), 3) for step in range(8)]
    [0.1, 0.2, 0.3, 0.4, 0.4, 0.3, 0.2, 0.1]
    """

    settings: Training
    steps: int

    def __post_init__(self) -> None:
        if self.settings.schedule not in _SHAPES:
            raise unknown_name("schedule", self.settings.schedule, _SHAPES)

    def __call__(self, step: int, peak: float | None = None) -> float:
        """Return η(step), 0 ≤ step < steps, with `peak` in the place of lr if it is given."""
        warm = round(self.settings.warmup * self.steps)
        rise = min(1.0, (step + 1) / max(warm, 1))
        after = max(0, step - warm) / max(1, self.steps - warm)
        peak = self.settings.lr if peak is None else peak
        return peak * rise * _SHAPES[self.settings.schedule](self.settings, step / self.steps, after)


def _constant(settings: Training, share: float, after: float) -> float:  # noqa: ARG001
    return 1.0


def _cosine(settings: Training, share: float, after: float) -> float:  # noqa: ARG001
    return (1 + math.cos(math.pi * after)) / 2


def _one_cycle(settings: Training, share: float, after: float) -> float:  # noqa: ARG001
    return 1 - after


def _steps(settings: Training, share: float, after: float) -> float:  # noqa: ARG001
    return _CUT ** sum(milestone <= share for milestone in settings.milestones)


_SHAPES: Mapping[str, Callable[[Training, float, float], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "one-cycle": _one_cycle,
    "steps": _steps,
}
