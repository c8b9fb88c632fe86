"""The mode of a network, training or evaluation: set for the moment, or kept as its user has set it part by part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_mode(*models: nn.Module, training: bool) -> Iterator[None]:
    """All of `models` in training or in evaluation mode; afterwards each module is in the mode that it was in."""
    with _modes_kept(*models):
        for model in models:
            model.train(training)
        yield


@contextmanager
def as_in_training(model: nn.Module) -> Iterator[None]:
    """`model` as it is to be trained; afterwards each module is in the mode that it was in.

    Parts in evaluation mode stay in it: their user has frozen their statistics and dropout, by `part.eval()`. But a
    model that is in evaluation mode as a whole has been evaluated, not frozen, and is put into training mode.
    """
    with _modes_kept(model):
        if not any(module.training for module in model.modules()):
            model.train()
        yield


@contextmanager
def _modes_kept(*models: nn.Module) -> Iterator[None]:
    before = {module: module.training for model in models for module in model.modules()}
    try:
        yield
    finally:
        _set_modes(before)


def _set_modes(modes: dict[nn.Module, bool]) -> None:
    for module, training in modes.items():  # parents first
        if module.training != training:
            module.train(training)  # a module may do more in it than set the mode, such as merge its weights
    for module, training in modes.items():
        module.training = training
