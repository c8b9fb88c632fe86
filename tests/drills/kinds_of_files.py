"""The kinds of file that the project writes and reads, and how a bad one is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from odenet.models import cifar_resnet
from odenet.training import (
    CheckpointError,
    Record,
    RecordError,
    WeightsError,
    load_model,
    load_weights,
    save_model,
    save_weights,
)
from odenet.training.checkpoints import Checkpoint

SMALL = partial(cifar_resnet, 2, 3, 1, widths=(2, 4))


class Kind(NamedTuple):
    """A kind of file that the project writes and reads."""

    name: str
    write: Callable[[Path], Any]
    read: Callable[[Path], Any]
    refusal: type[Exception]


def write_record(path: Path) -> None:
    results = {"seed0": {"accuracy": 0.9, "loss": float("inf"), "θ": [1, 2.5, None, True]}}
    sessions = [{"started": "2026-01-01T00:00:00+00:00", "seconds": 1.5, "commit": "a" * 40}]
    Record("widths", "smoke", {"data": "digits", "widths": [4, 8]}, results, {"table": []}, sessions).save(path)


def checkpoint(path: Path) -> Checkpoint:
    return Checkpoint(path, {"seed": 1}, seconds=0)


def write_checkpoint(path: Path) -> None:
    net = SMALL()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    checkpoint(path).write({"epoch": 1, "net": net.state_dict(), "optimizer": optimizer.state_dict()})


KINDS = (
    Kind("record.json", write_record, Record.load, RecordError),
    Kind("checkpoint.pt", write_checkpoint, lambda path: checkpoint(path).read(), CheckpointError),
    Kind("model.safetensors", lambda path: save_model(SMALL(), path, SMALL), load_model, WeightsError),
    Kind("weights.safetensors", partial(save_weights, SMALL()), partial(load_weights, SMALL()), WeightsError),
    Kind(
        "weights of a saved model.safetensors",
        lambda path: save_model(SMALL(), path, SMALL),
        partial(load_weights, SMALL()),
        WeightsError,
    ),
)


def fault_of(kind: Kind, path: Path) -> str:
    """What is wrong with how a file is refused; empty if nothing is."""
    try:
        kind.read(path)
    except kind.refusal as refusal:
        said = str(refusal)
        return "" if str(path) in said and "weights_only" not in said else f"it does not name the file: {said}"
    except Exception as error:
        return f"refused from inside: {error!r}"
    return "accepted"
