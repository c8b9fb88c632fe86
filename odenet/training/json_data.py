"""Plain data: what JSON holds (dictionaries, lists, strings, numbers, truth values, None), exactly there and back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from itertools import islice
from pathlib import PurePath
from typing import Any, TypeAlias

Plain: TypeAlias = dict[str, Any] | list[Any] | str | int | float | bool | None

_FLOAT = "$float"
"""JSON has no NaN and no infinity: {"$float": "nan"} stands for one."""

_ABSENT = object()

_MORE = 1000
"""So many entries, and twice those asked for, are looked at in data that were found."""


def to_json_data(value: object, where: str = "value") -> Any:
    """`value` as plain data that standard JSON can hold: dataclasses become dictionaries, tuples lists, paths strings.

    Args:
        value: The data.
        where: What it is, for the message.

    Raises:
        TypeError: Something in it is no plain data, a tensor for example; the message says where it is.

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
        return {
            field.name: to_json_data(getattr(value, field.name), f"{where}.{field.name}") for field in fields(value)
        }
    raise TypeError(
        f"{where} is a {type(value).__name__}, which JSON cannot hold; "
        "give numbers, strings, lists and dictionaries: .item() and .tolist() make them from tensors and arrays."
    )


def from_json_data(value: Any) -> Any:
    """The data that `to_json_data` wrote; lists and dictionaries stay what they are.

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
    """One line for each entry in which two plain values differ, at most `limit` of them and a count of the others.

    What was found may come out of anybody's file: of many more entries than were asked for, not all are looked at.

    Raises:
        RecursionError: What was found is nested without end, or too deep.

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
    """The leaves of nested data, by dotted name; an empty container is a leaf."""
    if isinstance(value, dict) and value:
        for key, entry in value.items():
            yield from _entries(entry, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and value:
        for i, entry in enumerate(value):
            yield from _entries(entry, f"{name}[{i}]")
    else:
        yield name, value


def _same(left: object, right: object) -> bool:
    # True == 1 and 1 == 1.0 in Python; whether a setting is a switch or a number is a difference, 1 or 1.0 is none.
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def _shown(entries: Mapping[str, Plain], name: str) -> str:
    return repr(entries[name]) if name in entries else "nothing"
