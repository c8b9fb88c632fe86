"""Fingerprints: the SHA-256 of what an object holds, the same in every process and on every device."""

from __future__ import annotations

import hashlib
import types
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_DIGITS = 32
"""Hexadecimal ones that are kept: two contents with one fingerprint are not to be met, even if looked for."""

_ATOMS = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), range)
"""Types whose `repr` says all, and says it always alike."""


def fingerprint(value: object) -> str:
    """32 hexadecimal digits that differ where contents do: numbers, text, tensors, containers, objects, files.

    Of a tensor or an array, dtype, shape and bytes count, and not the device; of an object, its class and its
    attributes, but for what a `cached_property` keeps; of a path, the files that it names; of a function, its name, its
    defaults and what it has taken from around it, and of one without a name of its own (a lambda) its code too. The
    method `__fingerprint__` of a class, if there is one, returns what stands for the object. Nothing is kept: content
    that has changed since the last call has another fingerprint. About 1.4 GB a second.

    Args:
        value: Of any type that can be copied by `copy.copy` or pickled.

    Raises:
        TypeError: Something in it is bound to this process, such as an open file or a lock.

    >>> fingerprint([1, 2.0]) == fingerprint([1, 2.0]), fingerprint([1, 2]) == fingerprint([1, 2.0])
    (True, False)
    >>> fingerprint({"images": torch.zeros(2, 3)}) == fingerprint({"images": torch.zeros(3, 2)})
    False
    """
    digest = hashlib.sha256()
    for part in _parts(value, ()):
        # With its length before it: where one part ends and the next begins counts too.
        digest.update(f"{len(part)}:".encode())
        digest.update(part)
    return digest.hexdigest()[:_DIGITS]


def _parts(value: Any, around: tuple[int, ...]) -> Iterator[bytes | memoryview]:
    """The content in pieces; `around` has the ids of the objects of which it is a part."""
    kind = type(value)
    if kind in _ATOMS:
        yield f"{kind.__name__} {value!r}".encode()
        return
    if id(value) in around:
        yield f"the object {len(around) - around.index(id(value))} levels up".encode()
        return
    inner = (*around, id(value))
    if hasattr(kind, "__fingerprint__"):
        yield from _parts(value.__fingerprint__(), inner)
    elif isinstance(value, Tensor):
        yield from _of_tensor(value)
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        yield f"array {value.dtype.str} {value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, torch.device):
        yield b"device"
    elif isinstance(value, torch.Generator):
        yield from _of_all("generator", (value.get_state(),), inner)
    elif isinstance(value, Path):
        yield from _of_path(value)
    elif kind in (list, tuple):
        yield from _of_all(kind.__name__, value, inner)
    elif isinstance(value, dict) and kind is dict:
        yield from _of_all("dict", [part for item in value.items() for part in item], inner)
    elif kind in (set, frozenset):
        yield from _of_all("set", sorted(fingerprint(entry) for entry in value), inner)
    elif isinstance(value, type | types.ModuleType):
        yield _name(value)
    elif isinstance(value, types.FunctionType):
        yield from _of_function(value, inner)
    elif isinstance(value, types.CodeType):
        yield value.co_code
        yield from _of_all("code", (value.co_consts, value.co_names), inner)
    else:
        yield from _of_object(value, inner)


def _of_all(tag: str, values: Any, around: tuple[int, ...]) -> Iterator[bytes | memoryview]:
    yield f"{tag} of {len(values)}".encode()
    for entry in values:
        yield from _parts(entry, around)


def _of_tensor(value: Tensor) -> Iterator[bytes | memoryview]:
    yield f"tensor {value.dtype} {tuple(value.shape)}".encode()
    if value.device.type == "meta":
        return
    dense = value.detach().cpu()
    dense = dense.to_dense() if dense.layout is not torch.strided else dense
    yield dense.resolve_conj().resolve_neg().contiguous().flatten().view(torch.uint8).numpy().data


def _of_path(path: Path) -> Iterator[bytes]:
    """The content of the file, or of all files in the folder under their names; of neither, what was written."""
    if path.is_file():
        yield b"file"
        with path.open("rb") as file:
            yield hashlib.file_digest(file, "sha256").digest()
    elif path.is_dir():
        for file in sorted(entry for entry in path.rglob("*") if entry.is_file()):
            yield file.relative_to(path).as_posix().encode()
            yield from _of_path(file)
    else:
        yield f"no file {path.as_posix()}".encode()


def _of_function(value: types.FunctionType, around: tuple[int, ...]) -> Iterator[bytes | memoryview]:
    yield _name(value)
    closure = [cell.cell_contents for cell in value.__closure__ or () if cell != types.CellType()]
    yield from _of_all("function", (value.__defaults__, value.__kwdefaults__, closure), around)
    if "<" in value.__qualname__:
        yield from _parts(value.__code__, around)


def _of_object(value: Any, around: tuple[int, ...]) -> Iterator[bytes | memoryview]:
    """What `pickle` would write of it."""
    if isinstance(value, types.BuiltinFunctionType):
        yield _name(value)
        return
    try:
        reduced = value.__reduce_ex__(4)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"the fingerprint of a {type(value).__name__} was asked for, which cannot be told from another one "
            f"({error}): what is trained on or with has to be the same when a training goes on. Give the class that "
            "holds it a method __fingerprint__ that returns what makes the difference: numbers, text, tensors, paths."
        ) from error
    yield _name(type(value))
    if isinstance(reduced, str):  # a global name
        yield reduced.encode()
        return
    make, arguments, state, *items = (*reduced, None, None, None)[:5]
    entries = [list(iterator) for iterator in items if iterator is not None]
    yield from _of_all("object", (make, arguments, _without_kept(type(value), state), entries), around)


def _without_kept(kind: type, state: Any) -> Any:
    """The attributes but for those that can be computed again."""
    if not isinstance(state, dict):
        return state
    kept = {name for base in kind.__mro__ for name, entry in vars(base).items() if isinstance(entry, cached_property)}
    return {name: entry for name, entry in state.items() if name not in kept}


def _name(value: Any) -> bytes:
    """The name of a class or function, with the package and without the module, which may be moved."""
    package = str(getattr(value, "__module__", None)).partition(".")[0]
    return f"{package} {getattr(value, '__qualname__', None) or value.__name__}".encode()
