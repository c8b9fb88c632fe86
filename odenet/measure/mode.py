"""Temporary change between training and evaluation mode, which restores the mode of every module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_mode(*models: nn.Module, training: bool) -> Iterator[None]:
    """Put `models` into training or evaluation mode within the context, and restore each module's mode afterwards."""
    with _modes_restored(*models):
        for model in models:
            model.train(training)
        yield


@contextmanager
def as_in_training(model: nn.Module) -> Iterator[None]:
    """Put `model` into the mode of its training within the context, and restore each module's mode afterwards.

    Parts in evaluation mode stay in it, because their user has frozen their statistics and dropout by `part.eval()`.
    But if the whole model is in evaluation mode, it is put into training mode: it was evaluated, not frozen.
    """
    with _modes_restored(model):
        if not any(module.training for module in model.modules()):
            model.train()
        yield


@contextmanager
def _modes_restored(*models: nn.Module) -> Iterator[None]:
    before = {module: module.training for model in models for module in model.modules()}
    try:
        yield
    finally:
        _set_modes(before)


def _set_modes(modes: dict[nn.Module, bool]) -> None:
    for module, training in modes.items():  # parents first, so that a child's own mode is set last
        if module.training != training:
            module.train(training)  # not an assignment: a module's own train() may do more, such as merge weights
    for module, training in modes.items():
        module.training = training
