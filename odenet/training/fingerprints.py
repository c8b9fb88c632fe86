"""Fingerprints: truncated SHA-256 of the content of an object, the same in every process and on every device."""

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
"""Number of hexadecimal digits: with 128 bits, a collision is infeasible even if it is searched for."""

_ATOMS = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), range)
"""Types whose `repr` determines the value and never varies."""


def fingerprint(value: object) -> str:
    """Return 32 hexadecimal digits that differ if the contents differ: of numbers, text, tensors, objects, files.

    The digits depend on the dtype, shape and bytes of a tensor or an array, not on its device; on the class and the
    attributes of an object, except the values of a `cached_property`; on the files that a path names; and on the name,
    the defaults and the closure of a function, and its code if it has no name of its own (a lambda). If a class has the
    method `__fingerprint__`, the value that it returns represents the object. Nothing is cached, so content that has
    changed since the last call has another fingerprint. The speed is about 1.4 GB/s.

    Args:
        value: Object of any type that can be copied by `copy.copy` or pickled.

    Raises:
        TypeError: if a part of it is bound to this process, such as an open file or a lock.

    >>> fingerprint([1, 2.0]) == fingerprint([1, 2.0]), fingerprint([1, 2]) == fingerprint([1, 2.0])
    (True, False)
    >>> fingerprint({"images": torch.zeros(2, 3)}) == fingerprint({"images": torch.zeros(3, 2)})
    False
    """
    digest = hashlib.sha256()
    for part in _parts(value, ()):
        # The length before each part makes the boundaries of parts count.
        digest.update(f"{len(part)}:".encode())
        digest.update(part)
    return digest.hexdigest()[:_DIGITS]


def _parts(value: Any, around: tuple[int, ...]) -> Iterator[bytes | memoryview]:
    """Yield the content in pieces; `around` holds the ids of the objects that contain `value`."""
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
        yield from _tensor_parts(value)
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        yield f"array {value.dtype.str} {value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, torch.device):
        yield b"device"
    elif isinstance(value, torch.Generator):
        yield from _entry_parts("generator", (value.get_state(),), inner)
    elif isinstance(value, Path):
        yield from _path_parts(value)
    elif kind in (list, tuple):
        yield from _entry_parts(kind.__name__, value, inner)
    elif isinstance(value, dict) and kind is dict:
        yield from _entry_parts("dict", [part for item in value.items() for part in item], inner)
    elif kind in (set, frozenset):
        yield from _entry_parts("set", sorted(fingerprint(entry) for entry in value), inner)
    elif isinstance(value, type | types.ModuleType):
        yield _name(value)
    elif isinstance(value, types.FunctionType):
        yield from _function_parts(value, inner)
    elif isinstance(value, types.CodeType):
        yield value.co_code
        yield from _entry_parts("code", (value.co_consts, value.co_names), inner)
    else:
        yield from _object_parts(value, inner)


def _entry_parts(tag: str, values: Any, around: tuple[int, ...]) -> Iterator[bytes | memoryview]:
    yield f"{tag} of {len(values)}".encode()
    for entry in values:
        yield from _parts(entry, around)


def _tensor_parts(value: Tensor) -> Iterator[bytes | memoryview]:
    yield f"tensor {value.dtype} {tuple(value.shape)}".encode()
    if value.device.type == "meta":
        return
    dense = value.detach().cpu()
    dense = dense.to_dense() if dense.layout is not torch.strided else dense
    yield dense.resolve_conj().resolve_neg().contiguous().flatten().view(torch.uint8).numpy().data


def _path_parts(path: Path) -> Iterator[bytes]:
    """Yield the content of a file, or names and contents of all files in a folder; otherwise the path itself."""
    if path.is_file():
        yield b"file"
        with path.open("rb") as file:
            yield hashlib.file_digest(file, "sha256").digest()
    elif path.is_dir():
        for file in sorted(entry for entry in path.rglob("*") if entry.is_file()):
            yield file.relative_to(path).as_posix().encode()
            yield from _path_parts(file)
    else:
        yield f"no file {path.as_posix()}".encode()


def _function_parts(value: types.FunctionType, around: tuple[int, ...]) -> Iterator[bytes | memoryview]:
    yield _name(value)
    closure = [cell.cell_contents for cell in value.__closure__ or () if cell != types.CellType()]
    yield from _entry_parts("function", (value.__defaults__, value.__kwdefaults__, closure), around)
    if "<" in value.__qualname__:
        yield from _parts(value.__code__, around)


def _object_parts(value: Any, around: tuple[int, ...]) -> Iterator[bytes | memoryview]:
    """Yield the content of an object as `pickle` would reduce it."""
    if isinstance(value, types.BuiltinFunctionType):
        yield _name(value)
        return
    try:
        reduced = value.__reduce_ex__(4)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"the fingerprint of a {type(value).__name__} was asked for, which cannot be compared between processes "
            f"({error}): a training resumes only with equal objects. Give the class that holds it a method "
            "__fingerprint__ that returns the content that identifies it: numbers, text, tensors, paths."
        ) from error
    yield _name(type(value))
    if isinstance(reduced, str):  # the name of a global object
        yield reduced.encode()
        return
    make, arguments, state, *items = (*reduced, None, None, None)[:5]
    entries = [list(iterator) for iterator in items if iterator is not None]
    yield from _entry_parts("object", (make, arguments, _without_cached(type(value), state), entries), around)


def _without_cached(kind: type, state: Any) -> Any:
    """Return the attributes except those cached by a `cached_property`."""
    if not isinstance(state, dict):
        return state
    cached = {name for base in kind.__mro__ for name, entry in vars(base).items() if isinstance(entry, cached_property)}
    return {name: entry for name, entry in state.items() if name not in cached}


def _name(value: Any) -> bytes:
    """Return the package and name of a class or function, without the module, which may change."""
    package = str(getattr(value, "__module__", None)).partition(".")[0]
    return f"{package} {getattr(value, '__qualname__', None) or value.__name__}".encode()
