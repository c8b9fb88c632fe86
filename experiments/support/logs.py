"""Logs of the trainings of a run beside its record, for TensorBoard or as tables in CSV."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeAlias

from odenet.blocks.extras import Extra

LogName: TypeAlias = Literal["csv", "tensorboard"]
"""Name of a form of logs."""


def log_folder(record: Path) -> Path:
    """Return the folder of the logs of the run with this record: `tensorboard --logdir` takes it."""
    return record.with_name(f"{record.name}.logs")


def loggers(names: Sequence[LogName], record: Path, key: str) -> list[Any]:
    """Return lightning-fabric's loggers for a training.

    Args:
        names: Names of the forms.
        record: File of the record of the run.
        key: Name of the training in the run, which is that of its folder.

    Raises:
        ModuleNotFoundError: if TensorBoard is asked for but not installed.
    """
    return [_logger(name, log_folder(record) / key) for name in names]


def _logger(name: LogName, folder: Path) -> Any:
    with Extra("experiments"):
        from lightning_fabric.loggers.csv_logs import CSVLogger
        from lightning_fabric.loggers.tensorboard import TensorBoardLogger
    if name == "csv":
        return CSVLogger(folder, name="csv")
    with Extra("log"):
        import_module("tensorboard")  # the logger's own message does not name the extra
    return TensorBoardLogger(folder, name="tensorboard")
