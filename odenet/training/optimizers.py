"""Optimizers and learning-rate schedules by name: one line each in a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from odenet.blocks.errors import unknown_name

if TYPE_CHECKING:
    from odenet.training.settings import Training


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


OPTIMIZERS: Mapping[str, Callable[[list[nn.Parameter], Training], Optimizer]] = {
    "sgd": lambda p, s: SGD(p, s.lr, momentum=s.momentum, weight_decay=s.weight_decay),
    "nesterov": lambda p, s: SGD(p, s.lr, momentum=s.momentum, weight_decay=s.weight_decay, nesterov=True),
    "adam": lambda p, s: Adam(p, s.lr, weight_decay=s.weight_decay),
    "adamw": lambda p, s: AdamW(p, s.lr, weight_decay=s.weight_decay),
}
"""Name → optimizer of parameters under the settings of a training."""

SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "linear": lambda progress: 1 - progress,
    "cosine": _cosine,
    "steps": lambda progress: 0.1 ** sum(progress >= milestone for milestone in (0.5, 0.75)),
}
"""Name → factor on the learning rate at a fraction of the training after the warm-up; "steps" is that of He et al."""


def make_optimizer(model: nn.Module, settings: Training) -> Optimizer:
    """The optimizer that `settings` names, over the trainable parameters of `model`.

    Raises:
        ValueError: an unknown name, or a model with nothing to train.
    """
    if settings.optimizer not in OPTIMIZERS:
        raise unknown_name("optimizer", settings.optimizer, OPTIMIZERS)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ValueError(f"{type(model).__name__} has no trainable parameter: nothing would be learned; unfreeze some.")
    return OPTIMIZERS[settings.optimizer](parameters, settings)


def make_schedule(optimizer: Optimizer, settings: Training, steps: int) -> LambdaLR:
    """The learning rate over `steps` steps: linear from 0 to lr during the warm-up, then the schedule named.

    Raises:
        ValueError: an unknown name.
    """
    if settings.schedule not in SCHEDULES:
        raise unknown_name("schedule", settings.schedule, SCHEDULES)
    after, warm = SCHEDULES[settings.schedule], round(settings.warmup * steps)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return after((step - warm) / max(1, steps - warm))

    return LambdaLR(optimizer, factor)
