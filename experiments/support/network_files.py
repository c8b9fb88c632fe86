"""Network files of users: those of `save_model`, and weights of torchvision's ResNets."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from odenet.blocks.extras import Extra
from odenet.models import from_torchvision
from odenet.training import WeightsError, load_model

with Extra("experiments"):
    from safetensors import SafetensorError
    from safetensors.torch import load_file


def read(path: Path) -> nn.Module:
    """Read the network in a file of `save_model`, or of torchvision's weights (`.pth`, or safetensors).

    Raises:
        ValueError: if the file is neither; the message has the reason for both.
    """
    try:
        return load_model(path)
    except WeightsError as error:
        reason = error
    try:
        return from_torchvision(_state(path))
    except (ValueError, TypeError, RuntimeError, EOFError, SafetensorError) as error:
        raise ValueError(
            f"{path} cannot be read as a network. As a file of save_model: {reason} As weights of torchvision: {error}"
        ) from error


def _state(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:  # the message of torch advises running code in the file
        raise ValueError("the file holds more than tensors, or was not written by torch.save.") from error
