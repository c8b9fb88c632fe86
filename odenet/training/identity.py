"""The identity of a training: all that decides its outcome, as plain data, which a checkpoint is compared by."""

from __future__ import annotations

import re
from dataclasses import is_dataclass
from enum import Enum
from pathlib import PurePath
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn, optim

from odenet.training.batches import BatchSource
from odenet.training.fingerprints import fingerprint
from odenet.training.json_data import Plain, to_json_data
from odenet.training.optimizers import describe_optimizer
from odenet.training.settings import Training
from odenet.training.tasks import Task

_CHANGING = ("training", "evaluations", "label", "last_solve")
"""Attributes of modules that are no settings of theirs."""

_NUMBERS_AND_TEXT = (type(None), bool, int, float, complex, str, bytes, np.generic, Enum, PurePath, torch.dtype)
_SETTINGS = (*_NUMBERS_AND_TEXT, list, tuple, dict, set, frozenset, SimpleNamespace)
"""Attributes of modules that are settings, as are functions and dataclasses; others, as tensors, may be of a batch."""


def identity_of(
    model: nn.Module,
    task: Task,
    train: BatchSource,
    test: BatchSource | None,
    settings: Training,
    *,
    seed: int,
    processes: int,
    optimizer: optim.Optimizer | None,
    context: Plain,
) -> dict[str, Any]:
    """What must be the same for a training to go on, or to be taken for done. The larger parts are fingerprints.

    The network counts as it prints itself, line by line, with the settings of its modules, their attributes, that the
    lines may leave out, and with its weights before the first step. Those of another processor may differ in rounding.

    Args:
        model: The network.
        task: Loss and metrics.
        train: Training batches.
        test: Test batches, if any.
        settings: How it is trained.
        seed: Of noise in the network.
        processes: That share the batches.
        optimizer: The one that was handed over, if any.
        context: What else counts.

    Raises:
        TypeError: Something cannot be told from another one, such as batches out of an open file.
    """
    return {
        "settings": to_json_data(settings),
        "seed": seed,
        "task": _printed(task),
        "processes": processes,
        "context": to_json_data(context, "context"),
        "examples": len(train.split.labels),
        "steps_per_epoch": len(train),
        "network": _printed(model).splitlines(),
        "modules": fingerprint(_modules(model)),
        "frozen": _frozen(model),
        "optimizer": None if optimizer is None else to_json_data(describe_optimizer(optimizer)),
        "made_from": {
            "training labels": fingerprint(train.split.labels),
            "training batches": fingerprint(train),
            "test batches": None if test is None else fingerprint(test),
            "task": fingerprint(task),
            "initial weights": fingerprint(weights_of(model)),
            "optimizer": None if optimizer is None else fingerprint((type(optimizer), optimizer.state_dict())),
        },
    }


def _frozen(model: nn.Module) -> list[str]:
    """The names of the parts that are in evaluation mode, and of the parameters without a gradient."""
    still = [name or "the network" for name, module in model.named_modules() if not module.training]
    return still + [name for name, parameter in model.named_parameters() if not parameter.requires_grad]


def weights_of(model: nn.Module) -> list[tuple[str, Any, bool]]:
    """Parameters and buffers by name, those that are in no state dict too, and whether they are trained."""
    parameters = [(name, entry.detach(), entry.requires_grad) for name, entry in model.named_parameters()]
    return parameters + [(name, entry, False) for name, entry in model.named_buffers()]


def _modules(model: nn.Module) -> list[tuple[str, type, dict[str, str]]]:
    return [(path, type(module), _settings(module)) for path, module in model.named_modules(remove_duplicate=False)]


def _settings(module: nn.Module) -> dict[str, str]:
    return {
        name: _of_setting(value)
        for name, value in vars(module).items()
        if not name.startswith("_") and name not in _CHANGING and _is_setting(value)
    }


def _is_setting(value: object) -> bool:
    return isinstance(value, _SETTINGS) or is_dataclass(value) or (callable(value) and not isinstance(value, Tensor))


def _of_setting(value: object) -> str:
    """A fingerprint; of what is bound to this process, such as a compiled function, the class."""
    try:
        return fingerprint(value)
    except (TypeError, RecursionError):
        return type(value).__qualname__


def _printed(value: object) -> str:
    """As it prints itself, without the addresses of functions and objects."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
