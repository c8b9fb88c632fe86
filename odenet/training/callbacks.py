"""Observers of a training: after each epoch loggers write its row, and callbacks see it and may end the training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from odenet.blocks.errors import unknown_name
from odenet.measure.mode import as_in_training
from odenet.training.checked import Checked
from odenet.training.devices import is_main_process
from odenet.training.randomness import random_numbers_kept


@dataclass(frozen=True)
class EpochEnd:
    """End of an epoch, as a callback sees it."""

    model: nn.Module
    """Network that is trained. Its modes, and random generators, are restored after the callback."""
    rows: Sequence[Mapping[str, float]]
    """Rows of the history so far, one per epoch."""
    epochs: int
    """Number of epochs of the whole training."""

    @property
    def row(self) -> Mapping[str, float]:
        """Row of the epoch that has ended."""
        return self.rows[-1]


Callback: TypeAlias = Callable[[EpochEnd], bool | None]
"""Function that is called after each epoch, in the main process; True ends the training."""


@dataclass(frozen=True)
class EarlyStopping(Checked):
    """Callback that ends a training whose metric has not improved for a number of epochs (Prechelt 1998, UP rule).

    It is a function of the rows of the history, so that an interrupted training ends where an uninterrupted one does.
    The schedule of the learning rate is that of the whole training: with one-cycle, the last epochs improve most.

    >>> stopping = EarlyStopping("test_loss", patience=2)
    >>> rows = [{"test_loss": loss} for loss in (0.9, 0.5, 0.6, 0.5)]
    >>> [stopping(EpochEnd(nn.Identity(), rows[:epoch], epochs=10)) for epoch in (1, 2, 3, 4)]
    [False, False, False, True]
    """

    metric: str
    """Entry of the rows that is to improve, such as test_loss or test_accuracy."""
    patience: int = 5
    """Number of epochs without an improvement after which the training ends."""
    least: float = 0.0
    """Least change that counts as an improvement."""
    better: Literal["auto", "smaller", "greater"] = "auto"
    """Whether smaller or greater values are better; auto takes smaller ones of what is called a loss."""

    def __call__(self, end: EpochEnd) -> bool:
        """Return whether the last `patience` epochs brought no improvement.

        Raises:
            ValueError: if the rows have no such metric.
        """
        if self.metric not in end.row:
            raise unknown_name("metric of EarlyStopping", self.metric, [name for name in end.row if name != "epoch"])
        smaller = self.metric.endswith("loss") if self.better == "auto" else self.better == "smaller"
        best, waited = -math.inf, 0
        for row in end.rows:
            value = -row[self.metric] if smaller else row[self.metric]
            best, waited = (value, 0) if value > best + self.least else (best, waited + 1)
        return waited >= self.patience


class Observers:
    """Loggers and callbacks of a training; only the main process has any.

    Args:
        model: Network that is trained.
        loggers: Loggers with `log_metrics(metrics, step)`, as lightning-fabric's and Lightning's are.
        callbacks: Functions of an `EpochEnd`.
        epochs: Number of epochs of the whole training.

    Raises:
        TypeError: if a logger has no `log_metrics`, or a callback cannot be called.
    """

    def __init__(self, model: nn.Module, loggers: Sequence[Any], callbacks: Sequence[Callback], epochs: int) -> None:
        for logger in _listed("loggers", loggers):
            if not callable(getattr(logger, "log_metrics", None)):
                raise TypeError(
                    f"loggers has {logger!r}, which has no method log_metrics(metrics, step): pass lightning-fabric's "
                    "CSVLogger or TensorBoardLogger, or another logger of Lightning."
                )
        for callback in _listed("callbacks", callbacks):
            if not callable(callback):
                raise TypeError(
                    f"callbacks has {callback!r}, which cannot be called: pass functions of an EpochEnd, or "
                    "EarlyStopping(metric)."
                )
        self.rules = [repr(callback) for callback in callbacks if is_dataclass(callback)]
        self._model, self._epochs, self._main = model, epochs, is_main_process()
        self._loggers, self._callbacks = (loggers, callbacks) if self._main else ((), ())

    @contextmanager
    def watching(self, rows: Sequence[Mapping[str, float]]) -> Iterator[None]:
        """Log the rows of an earlier process, so that each log is whole, and close the loggers after the block."""
        status = "failed"
        try:
            for row in rows:
                self._log(row)
            yield
            status = "success"
        finally:
            for logger in self._loggers:
                if hasattr(logger, "finalize"):
                    logger.finalize(status)

    def epoch_ended(self, rows: Sequence[Mapping[str, float]], device: torch.device) -> bool:
        """Log the last row, call the callbacks, and return whether one of them ends the training."""
        if not (self._loggers or self._callbacks):
            return False
        self._log(rows[-1])
        end = EpochEnd(self._model, rows, self._epochs)
        with random_numbers_kept(device), as_in_training(self._model):
            ending = [callback(end) for callback in self._callbacks]  # each is called
        return any(ending)

    def _log(self, row: Mapping[str, float]) -> None:
        metrics = {name: value for name, value in row.items() if name != "epoch"}
        for logger in self._loggers:
            logger.log_metrics(metrics, step=int(row["epoch"]))
            if hasattr(logger, "save"):
                logger.save()  # a killed process leaves the log of its epochs


def _listed(name: str, values: object) -> Sequence[Any]:
    """Return the values if they are a list or tuple."""
    if not isinstance(values, list | tuple):
        raise TypeError(f"{name} must be a list or tuple, got {values!r}: put a single one into a list.")
    return values
