"""JSON data (dictionaries, lists, strings, numbers, True, False, None), converted exactly in both directions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from itertools import islice
from pathlib import PurePath
from typing import Any, TypeAlias

Plain: TypeAlias = dict[str, Any] | list[Any] | str | int | float | bool | None

_FLOAT = "$float"
"""Key of the object that stands for NaN or infinity, which JSON lacks: {"$float": "nan"}."""

OMITTED_BY_DEFAULT: Mapping[str, bool] = {"omitted_by_default": True}
"""Metadata of a field of settings that is left out of the JSON data while it has its default, which means that nothing
is changed. Records and checkpoints from before the field existed then remain those of the same settings."""

_ABSENT = object()

_MORE = 1000
"""Number of entries of `found` that `differences` compares, in addition to twice the number of those of `asked`."""


def to_json_data(value: object, where: str = "value") -> Any:
    """Return `value` as data that standard JSON can hold: dataclasses become dictionaries, tuples lists, paths strings.

    Args:
        value: Data to convert.
        where: Name of the data, for the message.

    Raises:
        TypeError: if JSON cannot hold a part of it, such as a tensor; the message says which part.

    >>> to_json_data({"loss": float("inf"), "widths": (16, 32)})
    {'loss': {'$float': 'inf'}, 'widths': [16, 32]}
    """
    match value:
        case None | bool() | str():
            return value
        case int():
            return int(value)
        case float():
            return float(value) if math.isfinite(value) else {_FLOAT: str(float(value))}
        case PurePath():
            return value.as_posix()
        case list() | tuple():
            return [to_json_data(entry, f"{where}[{i}]") for i, entry in enumerate(value)]
        case Mapping():
            return {_key(key, where): to_json_data(entry, f"{where}.{key}") for key, entry in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        entries = ((field, getattr(value, field.name)) for field in fields(value))
        return {
            field.name: to_json_data(entry, f"{where}.{field.name}")
            for field, entry in entries
            if not (field.metadata.get("omitted_by_default") and entry == field.default)
        }
    raise TypeError(
        f"{where} is a {type(value).__name__}, which JSON cannot hold; "
        "give numbers, strings, lists and dictionaries: .item() and .tolist() make them from tensors and arrays."
    )


def from_json_data(value: Any) -> Any:
    """Return the data that `to_json_data` converted; lists stay lists.

    >>> from_json_data(to_json_data([1.5, float("-inf")]))
    [1.5, -inf]
    """
    match value:
        case {"$float": str(number)} if len(value) == 1:
            return float(number)
        case dict():
            return {key: from_json_data(entry) for key, entry in value.items()}
        case list():
            return [from_json_data(entry) for entry in value]
    return value


def differences(asked: Plain, found: Plain, limit: int = 12) -> list[str]:
    """Return one line for each entry in which two JSON values differ, at most `limit` and a count of the others.

    As `found` may come from any file, only a limited number of its entries is compared.

    Raises:
        RecursionError: if `found` is nested too deep, or contains itself.

    >>> differences({"lr": 0.1, "net": {"depth": 8}}, {"lr": 0.1, "net": {"depth": 16}})
    ['net.depth: asked for 8, found 16']
    """
    left = dict(_entries(asked))
    right = dict(islice(_entries(found), 2 * len(left) + _MORE))
    lines = [
        f"{name}: asked for {_shown(left, name)}, found {_shown(right, name)}"
        for name in left | right
        if not _same(left.get(name, _ABSENT), right.get(name, _ABSENT))
    ]
    return lines if len(lines) <= limit else [*lines[:limit], f"and {len(lines) - limit} more"]


def _key(key: object, where: str) -> str:
    if isinstance(key, str):
        return key
    raise TypeError(
        f"{where} has the key {key!r}, which would come back from JSON as a string; use strings, e.g. {str(key)!r}."
    )


def _entries(value: Plain, name: str = "") -> Iterator[tuple[str, Plain]]:
    """Yield the leaves of nested data with their dotted names; an empty container is a leaf."""
    if isinstance(value, dict) and value:
        for key, entry in value.items():
            yield from _entries(entry, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and value:
        for i, entry in enumerate(value):
            yield from _entries(entry, f"{name}[{i}]")
    else:
        yield name, value


def _same(left: object, right: object) -> bool:
    # True == 1 == 1.0 in Python, but True and 1 are different settings, while 1 and 1.0 are the same.
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def _shown(entries: Mapping[str, Plain], name: str) -> str:
    return repr(entries[name]) if name in entries else "nothing"
