"""Validation of the arguments of a training and of an evaluation; each error names the argument."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim

from odenet.data.detection_targets import DetectionTargets
from odenet.training.tasks import Task


def require_kind(name: str, value: object, kind: type | tuple[type, ...], expected: str, advice: str) -> None:
    """Raise an error unless `value` is an instance of `kind`.

    Args:
        name: Name of the argument, for the message.
        value: Value of the argument.
        kind: Class of valid values, or several.
        expected: Description of valid values, for the message.
        advice: Reason and remedy, for the message.

    Raises:
        TypeError: if `value` is not an instance of `kind`.

    >>> require_kind("quiet", "no", bool, "True or False", "it switches the display of progress off")
    Traceback (most recent call last):
    ...
    TypeError: quiet must be True or False, got 'no' (str): it switches the display of progress off.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be {expected}, got {_shown(value)}: {advice}.")


def require_model(model: object) -> None:
    """Raise a `TypeError` unless `model` is a network, for example if it is the function that builds one."""
    advice = "call the class or function that builds the network first, e.g. resnet20()"
    require_kind("model", model, nn.Module, "a torch.nn.Module", advice)


def require_float32(model: nn.Module) -> None:
    """Raise a `ValueError` if the floating-point weights of `model` have another precision than the inputs."""
    dtypes = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    if dtypes and torch.float32 not in dtypes:
        raise ValueError(
            f"a model with weights of {', '.join(sorted(map(str, dtypes)))} cannot be trained: its inputs in training "
            "are torch.float32 (with precision='bf16-mixed' too). Call model.float() first."
        )


def require_task(task: object) -> None:
    """Raise a `TypeError` unless `task` is an instance of `Task`, for example if it is a class."""
    advice = "it defines the loss and the metrics; make one first, e.g. Classification(10) or Segmentation(21)"
    require_kind("task", task, Task, "a task", advice)


def require_optimizer(optimizer: object) -> None:
    """Raise a `TypeError` unless `optimizer` is an optimizer or None."""
    advice = "pass SGD(model.parameters(), …), or None for the optimizer that the settings name"
    require_kind("optimizer", optimizer, (optim.Optimizer, type(None)), "a torch.optim.Optimizer or None", advice)


def require_batches(name: str, batches: Any) -> None:
    """Raise an error unless `batches` has the interface of `BatchSource` and at least one batch.

    Raises:
        TypeError: if it has no split with labels, no length, or no `epoch(epoch, start)`: a DataLoader, a split, a list
            of batches.
        ValueError: if an epoch has no batch.
    """
    labels, epoch = getattr(getattr(batches, "split", None), "labels", None), getattr(batches, "epoch", None)
    if not isinstance(labels, Tensor | DetectionTargets) or not callable(epoch) or not hasattr(batches, "__len__"):
        raise TypeError(
            f"{name} must be a BatchSource, got {_shown(batches)}: each batch must be a function of (epoch, index), so "
            "that a resumed training sees the batches that it would have seen; those of a DataLoader depend on global "
            "generators. Pass data.train_batches(batch_size) of a loaded data set, Batches(Split(images, labels), …), "
            "CropBatches(…), or an object with `split.labels`, `epoch(epoch, start)` and a length (see "
            "odenet.training.BatchSource)."
        )
    if len(batches) == 0:
        raise ValueError(
            f"{name} must have at least one batch in an epoch, got {_shown(batches)} without any: there is nothing to "
            "train or test on; pass a larger split or a smaller batch_size."
        )


def require_folder(folder: Any) -> None:
    """Raise an error unless `folder` is a path of a folder, which need not exist.

    Raises:
        TypeError: if it is not a path.
        ValueError: if it is the path of a file.
    """
    require_kind("folder", folder, (str, PathLike), "the path of a folder", "the checkpoint is written to it")
    if Path(folder).exists() and not Path(folder).is_dir():
        raise ValueError(f"folder must be a folder, got the file {_shown(folder)}: the checkpoint is written to it.")


def require_same_device(name: str, batches: Any, device: torch.device) -> None:
    """Raise a `ValueError` if the batches are on another type of device than the training."""
    if (found := batches.split.labels.device.type) != device.type:
        raise ValueError(
            f"the batches {name} must be on {device.type!r}, got batches on {found!r}: the network is trained on "
            f"{device.type!r}. Make them with device=launch(settings).device, or train with device={found!r} in the "
            "settings."
        )


def _shown(value: object) -> str:
    """Return a short `repr` of `value`, followed by its type."""
    text = repr(value)
    kind = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
    return f"{text} ({kind})" if len(text) <= 40 and "\n" not in text else f"… ({kind})"
