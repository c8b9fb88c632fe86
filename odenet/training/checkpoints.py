"""Checkpoints: all that a training needs to go on as if it had never stopped, and weights that load anywhere.

No code runs on loading: checkpoints are read with `weights_only=True`, weights are safetensors files.
"""

from __future__ import annotations

import difflib
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from odenet.training.files import write_atomically

FORMAT = 1
"""Version of the checkpoint's layout; a reader refuses what is newer than itself."""


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors, numbers, strings, lists and dictionaries to `path`, atomically."""
    write_atomically(path, lambda file: torch.save({"format": FORMAT, **content}, file))


def load_checkpoint(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a checkpoint that was written under the same `identity` (settings, seed).

    Args:
        path: the file.
        identity: what has to be equal for the training to be the same one.

    Raises:
        ValueError: a file that is truncated, foreign, of a newer format, or of another training.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
        raise _unreadable(path, "it is truncated, or no checkpoint") from error
    if not isinstance(content, dict) or "format" not in content or "identity" not in content:
        raise _unreadable(path, "it was not written by odenet's training loop")
    if content["format"] > FORMAT:
        raise _unreadable(path, f"its format {content['format']} is newer than this version's, {FORMAT}")
    found = content["identity"]
    differing = sorted(k for k in found.keys() | identity.keys() if found.get(k) != identity.get(k))
    if differing:
        name = differing[0]
        raise ValueError(
            f"the checkpoint {path} belongs to another training: {name} = {found.get(name)!r} there, "
            f"{identity.get(name)!r} asked for; its numbers would not be those of this run: use another folder "
            "(--record), or delete it."
        )
    return content


def save_weights(model: nn.Module, path: Path) -> None:
    """Write parameters and buffers of `model` to a safetensors file, atomically; shared tensors are written once."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _unshared(model.state_dict())}
    write_atomically(path, lambda file: file.write(safetensors.torch.save(tensors)))


def load_weights(model: nn.Module, path: Path) -> None:
    """Read parameters and buffers of `model` from a safetensors file; all of them, and nothing else.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a truncated or foreign file, missing or foreign names, or other shapes; the message names them.
    """
    try:
        tensors = safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise _unreadable(path, "it is truncated, or no safetensors file") from error
    expected = dict(_unshared(model.state_dict()))
    missing, foreign = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or foreign:
        raise ValueError(
            f"the weights in {path} do not fit {type(model).__name__}: {_names('missing', missing, foreign)}"
            f"{_names('not in the model', foreign, missing)}build the model as it was when they were saved."
        )
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise ValueError(
                f"the weights in {path} do not fit {type(model).__name__}: {name} is {tuple(tensor.shape)} there, "
                f"{tuple(expected[name].shape)} in the model: build the model as it was when they were saved."
            )
    model.load_state_dict(tensors, strict=False)  # complete, but for names that share a tensor already given


def _unshared(state: Mapping[str, Tensor]) -> Iterable[tuple[str, Tensor]]:
    seen: set[tuple[int, torch.Size]] = set()
    for name, tensor in state.items():
        key = (tensor.data_ptr(), tensor.shape)
        if tensor.numel() == 0 or key not in seen:
            seen.add(key)
            yield name, tensor


def _names(what: str, names: list[str], others: list[str]) -> str:
    if not names:
        return ""
    near = difflib.get_close_matches(names[0], others, n=1)
    hint = f" (nearest: {near[0]!r})" if near else ""
    return f"{len(names)} {what}, first {names[0]!r}{hint}; "


def _unreadable(path: Path, why: str) -> ValueError:
    return ValueError(f"the file {path} cannot be loaded: {why}; delete it, or name another one.")
