"""Identity of a training: everything that determines its outcome, as plain data, to compare with a checkpoint."""

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
from odenet.training.weights import CHANGING

_NUMBERS_AND_TEXT = (type(None), bool, int, float, complex, str, bytes, np.generic, Enum, PurePath, torch.dtype)
_SETTINGS = (*_NUMBERS_AND_TEXT, list, tuple, dict, set, frozenset, SimpleNamespace)
"""Types of attributes that are settings, besides functions and dataclasses; a tensor may depend on the last batch."""


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
    validation: BatchSource | None = None,
) -> dict[str, Any]:
    """Return all that must be equal for a training to resume, or to be complete; the larger parts as fingerprints.

    The network is described by the lines of its `repr`, by the attributes of its modules, which the lines may omit, and
    by its weights before the first step; those may differ by rounding between processors.

    Args:
        model: Network before the first step.
        task: Task with the loss and metrics.
        train: Training batches.
        test: Test batches, if any.
        settings: Settings of the training.
        seed: Seed of the noise in the network.
        processes: Number of processes that share the batches.
        optimizer: Optimizer that the user passed, if any.
        context: Further data on which the outcome depends.
        validation: Validation batches, if any.

    Raises:
        TypeError: if a part cannot be compared between processes, such as batches from an open file.
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
            **({} if validation is None else {"validation batches": fingerprint(validation)}),
            "task": fingerprint(task),
            "initial weights": fingerprint(weights_of(model)),
            "optimizer": None if optimizer is None else fingerprint((type(optimizer), optimizer.state_dict())),
        },
    }


def _frozen(model: nn.Module) -> list[str]:
    """Return the names of the modules in evaluation mode and of the parameters that require no gradient."""
    frozen = [name or "the network" for name, module in model.named_modules() if not module.training]
    return frozen + [name for name, parameter in model.named_parameters() if not parameter.requires_grad]


def weights_of(model: nn.Module) -> list[tuple[str, Any, bool]]:
    """Return name, value and `requires_grad` of all parameters and buffers, including non-persistent buffers."""
    parameters = [(name, entry.detach(), entry.requires_grad) for name, entry in model.named_parameters()]
    return parameters + [(name, entry, False) for name, entry in model.named_buffers()]


def _modules(model: nn.Module) -> list[tuple[str, type, dict[str, str]]]:
    return [(path, type(module), _settings(module)) for path, module in model.named_modules(remove_duplicate=False)]


def _settings(module: nn.Module) -> dict[str, str]:
    return {
        name: _setting_fingerprint(value)
        for name, value in vars(module).items()
        if not name.startswith("_") and name not in CHANGING and _is_setting(value)
    }


def _is_setting(value: object) -> bool:
    return isinstance(value, _SETTINGS) or is_dataclass(value) or (callable(value) and not isinstance(value, Tensor))


def _setting_fingerprint(value: object) -> str:
    """Return the fingerprint of a setting, or its class if it is bound to this process, as a compiled function is."""
    try:
        return fingerprint(value)
    except (TypeError, RecursionError):
        return type(value).__qualname__


def _printed(value: object) -> str:
    """Return the `repr` without the addresses of functions and objects."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
