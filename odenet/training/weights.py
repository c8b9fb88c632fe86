"""Weights: the parameters and buffers of a network in a safetensors file, which cannot run code when it is read."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor, nn

from odenet.training.files import write_atomically

_SHOWN = 4


class WeightsError(ValueError):
    """Weights that cannot be read, or that belong to another network."""


def save_weights(model: nn.Module, path: Path | str) -> None:
    """Write the state dict of `model` to `path`, atomically; its folder is made if there is none.

    Raises:
        CannotWrite: The disk is full, or the folder cannot be made or written; a file that was there is intact.
    """
    from safetensors.torch import save

    # safetensors refuses tensors that share memory or are strided; copies are neither.
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    write_atomically(Path(path), save(copies, metadata={"format": "pt"}), what="weights file")


def load_weights(model: nn.Module, path: Path | str) -> None:
    """Read what `save_weights` wrote into `model`, in place; names and shapes must be exactly those of its state dict.

    Raises:
        FileNotFoundError: There is no such file.
        WeightsError: The file is truncated or foreign, or holds the weights of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = Path(path)
    try:
        tensors = load(path.read_bytes())
    except SafetensorError as error:
        raise WeightsError(
            f"the weights file {path} cannot be read ({error}): it is truncated or was not written by save_weights; "
            "give another file, or train again."
        ) from error
    load_state(model, tensors, f"the weights file {path}")


def load_state(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy `tensors` into the parameters and buffers of `model`, after all names and shapes have been compared.

    Raises:
        WeightsError: They are those of another network; the message names the first differences, and the nearest names.
    """
    own = model.state_dict()
    faults = [*_missing(own, tensors), *_foreign(own, tensors), *_misshapen(own, tensors)]
    if faults:
        raise WeightsError(
            f"{source} does not fit {type(model).__name__}: {'; '.join(faults)}. "
            "Build the network that it was written for, or choose another file."
        )
    model.load_state_dict(tensors)


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


def _listed(what: str, names: list[str], described: Callable[[str], str]) -> list[str]:
    """One clause on `names`, of which the first few are described: a search for near names takes its time."""
    shown = [described(name) for name in names[:_SHOWN]]
    rest = [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return [f"{what} {', '.join(shown + rest)}"] if names else []
