"""Weights files: parameters and buffers of a network in the safetensors format, which contains no code."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from odenet.blocks.arguments import checked
from odenet.training.files import write_atomically
from odenet.training.tensor_files import DamagedFile, read_tensors, tensors_to_bytes

CHANGING = ("training", "evaluations", "last_solve", "integrals", "label", "scales", "map_levels")
"""Attributes of modules that are no settings, since they change after construction or in a solve; the last two are of
torchvision's MultiScaleRoIAlign, which computes them from the first images."""

_SHOWN = 4


class WeightsError(ValueError):
    """Error for weights that cannot be read, or that belong to another network."""


@checked
def save_weights(model: nn.Module, path: Path | str) -> None:
    """Write the state dict of `model` to `path`, atomically; the folder is created if necessary.

    Raises:
        CannotWrite: if the disk is full, or the folder cannot be made or written; an existing file is left intact.
    """
    write_atomically(Path(path), tensors_to_bytes(model.state_dict(), {}), what="weights file")


@checked
def load_weights(model: nn.Module, path: Path | str) -> None:
    """Read a weights file into `model`, in place; names and shapes must be exactly those of its state dict.

    Files of other programs are read too; those of odenet are verified by their checksum.

    Raises:
        FileNotFoundError: if there is no such file.
        WeightsError: if the file is truncated, damaged or foreign, or holds the weights of another network or NaN.
    """
    path = Path(path)
    try:
        tensors = read_tensors(path).tensors
    except DamagedFile as error:
        raise WeightsError(
            f"the weights file {path} cannot be read ({error}): it is truncated or damaged, or was not written by "
            "save_weights; give another file, or train again."
        ) from error
    require_finite(tensors, f"the weights file {path}")
    load_state(model, tensors, f"the weights file {path}")


def require_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Raise an error that names the tensors with NaN, if there are any.

    Raises:
        WeightsError: if a tensor contains NaN.
    """
    # A sum is NaN if a term is, or if infinities of both signs cancel: only then every number is checked.
    floats = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point() or tensor.is_complex()}
    bad = [name for name, tensor in floats.items() if tensor.sum().isnan() and tensor.isnan().any()]
    if bad:
        raise WeightsError(
            f"{source} has NaN in {', '.join(_first(bad, repr))}: the training that wrote it had diverged, or it was "
            "changed by another program. Give another file, or train again."
        )


def load_state(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy `tensors` into the parameters and buffers of `model`, after checking them by `require_state`.

    Raises:
        WeightsError: if they are those of another network.
    """
    require_state(model, tensors, source)
    model.load_state_dict(tensors)


def require_state(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Compare names, shapes and kinds of `tensors` with those of the state dict of `model`, which may be on meta.

    The precision of floating-point numbers may differ, and that of whole numbers.

    Raises:
        WeightsError: if they are those of another network; the message names the first differences and nearest names.
    """
    own = model.state_dict()
    faults = [*_missing(own, tensors), *_foreign(own, tensors), *_misshapen(own, tensors), *_mistyped(own, tensors)]
    if faults:
        raise WeightsError(
            f"{source} does not fit {type(model).__name__}: {'; '.join(faults)}. "
            "Build the network that it was written for, or choose another file."
        )


def _missing(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    return _listed("it lacks", [name for name in own if name not in found], repr)


def _foreign(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    def described(name: str) -> str:
        near = difflib.get_close_matches(name, own, n=1)
        return repr(name) + (f" (nearest: {near[0]!r})" if near else "")

    return _listed("it has the foreign", sorted(found.keys() - own.keys()), described)


def _misshapen(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    def described(name: str) -> str:
        return f"{name!r}, {tuple(found[name].shape)} instead of {tuple(own[name].shape)}"

    return _listed("it differs in", [n for n in own if n in found and own[n].shape != found[n].shape], described)


def _mistyped(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    def described(name: str) -> str:
        return f"{name!r}, {found[name].dtype} instead of {own[name].dtype}"

    names = [name for name in own if name in found and _kind(own[name].dtype) != _kind(found[name].dtype)]
    return _listed("it differs in", names, described)


def _kind(dtype: torch.dtype) -> str:
    if dtype.is_floating_point or dtype.is_complex:
        return "complex" if dtype.is_complex else "float"
    return "bool" if dtype == torch.bool else "integer"


def _listed(what: str, names: list[str], described: Callable[[str], str]) -> list[str]:
    """Return one clause on `names`, which describes only the first few, as a search for near names takes time."""
    return [f"{what} {', '.join(_first(names, described))}"] if names else []


def _first(names: list[str], described: Callable[[str], str]) -> list[str]:
    rest = [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return [described(name) for name in names[:_SHOWN]] + rest
