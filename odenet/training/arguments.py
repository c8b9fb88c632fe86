"""Arguments of a training and of an evaluation, refused by name where they are of another kind than is meant."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim

from odenet.training.tasks import Task


def require_kind(name: str, value: object, kind: type | tuple[type, ...], why: str) -> None:
    """Raise a `TypeError` unless `value` is a `kind`; `why` says why nothing else can be, and what to give.

    >>> require_kind("quiet", "no", bool, "it is a yes or no; give True or False")
    Traceback (most recent call last):
    ...
    TypeError: quiet='no' (str) cannot be: it is a yes or no; give True or False.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name}={_shown(value)} cannot be: {why}.")


def require_model(model: object) -> None:
    """Refuse what is no network, such as the function that makes one."""
    require_kind(
        "model", model, nn.Module, "what is trained is a torch.nn.Module; call its class or function first: resnet20()"
    )


def require_float32(model: nn.Module) -> None:
    """Raise a `ValueError` if the weights of `model` are floats of another precision than a training feeds it."""
    dtypes = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    if dtypes and torch.float32 not in dtypes:
        raise ValueError(
            f"a model with weights of {', '.join(sorted(map(str, dtypes)))} cannot be trained: a training gives it "
            "inputs of torch.float32, and computes in bfloat16 where precision='bf16-mixed'. Call model.float() first."
        )


def require_task(task: object) -> None:
    """Refuse what is no task, such as its class."""
    require_kind(
        "task", task, Task, "it gives the loss and the metrics; make one first: Classification(10), Segmentation(21), …"
    )


def require_optimizer(optimizer: object) -> None:
    """Refuse what is neither an optimizer nor None."""
    why = "it is an optimizer of the model's parameters, or None for the one that settings name; give SGD(…)"
    require_kind("optimizer", optimizer, (optim.Optimizer, type(None)), why)


def require_batches(name: str, batches: Any) -> None:
    """Refuse what does not answer as `BatchSource` does: a DataLoader, a split, a list of batches; or has no batch.

    Raises:
        TypeError: it has no split with labels, no length, or no `epoch(epoch, start)`.
        ValueError: an epoch has no batch.
    """
    labels, epoch = getattr(getattr(batches, "split", None), "labels", None), getattr(batches, "epoch", None)
    if not isinstance(labels, Tensor) or not callable(epoch) or not hasattr(batches, "__len__"):
        raise TypeError(
            f"{name}={_shown(batches)} cannot give the batches: each is a function of (epoch, index), so that a "
            "training which was killed goes on with those that it would have seen, and a DataLoader, for one, has them "
            "from global generators. Give data.train_batches(batch_size) of a loaded data set, Batches(Split(images, "
            "labels), …), CropBatches(…), or an object with `split.labels`, `epoch(epoch, start)` and a length, as "
            "odenet.training.BatchSource describes it."
        )
    if len(batches) == 0:
        raise ValueError(
            f"{name}={_shown(batches)} has no batch in an epoch: there is nothing to go through; give at least one."
        )


def require_folder(folder: Any) -> None:
    """Refuse what is no path, or the path of a file."""
    require_kind("folder", folder, (str, PathLike), "the checkpoint lies in it; give the path of a folder")
    if Path(folder).exists() and not Path(folder).is_dir():
        raise ValueError(f"folder={_shown(folder)} cannot hold the checkpoint: it is a file; give a folder.")


def require_same_device(name: str, batches: Any, device: torch.device) -> None:
    """Refuse batches on another kind of device than that of the training."""
    if (found := batches.split.labels.device.type) != device.type:
        raise ValueError(
            f"{name}, batches on {found!r}, cannot be fed to a network on {device.type!r}: they are made on the device "
            f"of the training. Make them with device=launch(settings).device, or train with device={found!r} in the "
            "settings."
        )


def _shown(value: object) -> str:
    """Short, with its kind."""
    text = repr(value)
    kind = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
    return f"{text} ({kind})" if len(text) <= 40 and "\n" not in text else f"… ({kind})"
