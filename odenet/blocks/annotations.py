"""Annotations of arguments: marks for the bounds of a value, and the words for its type in error messages."""

from __future__ import annotations

import collections.abc
import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import torch
from torch import Tensor, nn

KINDS = {
    int: "a whole number",
    float: "a number",
    Fraction: "a fraction",
    bool: "True or False",
    str: "a string",
    Path: "a path",
    PathLike: "a path",
    torch.device: "a device",
    Tensor: "a tensor",
    NoneType: "None",
    collections.abc.Mapping: "a dictionary, {…: …}",
}
"""Phrases for types whose names say too little to a reader of a message."""

SEQUENCE = "a sequence of values, (…, …)"
"""Phrase for a tuple, a list or another sequence."""

SEQUENCE_TYPES: dict[Any, tuple[type, ...]] = {
    tuple: (tuple, list),
    list: (tuple, list),
    collections.abc.Sequence: (collections.abc.Sequence, nn.ModuleList, nn.Sequential),
    collections.abc.Iterable: (collections.abc.Iterable,),
}
"""Types accepted where several values are expected, by the type in the annotation."""


@dataclass(frozen=True)
class Within:
    """Bounds of a number, both included: `Annotated[float, Within(0, 1)]`."""

    least: float
    """The smallest allowed value."""
    most: float = math.inf
    """The largest allowed value."""


@dataclass(frozen=True)
class Inside:
    """Mark of an argument that the function checks itself, with a more specific message.

    The bounds of a marked number are left to the function; of any other marked value, its type is too.
    """


Whole = Annotated[int, Inside()]
Number = Annotated[float, Inside()]
WholeFromZero = Annotated[int, Within(0)]
NumberFromZero = Annotated[float, Within(0)]
AnyWhole = Annotated[int, Within(-math.inf)]
AnyNumber = Annotated[float, Within(-math.inf)]
Share = Annotated[float, Within(0, 1)]
Seed = Annotated[int, Within(0, 2**64 - 1)]


@dataclass(frozen=True)
class OneOf:
    """The names that a string may be: `Annotated[tuple[str, ...], OneOf(NETS)]`."""

    names: Iterable[str]
    """The allowed names."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))  # annotations must be hashable


@dataclass(frozen=True)
class Different:
    """Mark of a sequence whose entries must be different: `Annotated[tuple[int, ...], Different()]`."""


@dataclass(frozen=True)
class MayBeEmpty:
    """Mark of a sequence that may be empty although its default is not: `Annotated[Sequence[float], MayBeEmpty()]`."""


def describe(hint: Any) -> str:
    """Return a noun phrase for the values that an annotation allows."""
    hint = hint.__bound__ if isinstance(hint, TypeVar) else hint
    kind = get_origin(hint) or hint
    if kind is Literal:
        return f"one of {', '.join(map(repr, get_args(hint)))}"
    if kind is Annotated:
        return describe(get_args(hint)[0])
    if kind in SEQUENCE_TYPES:
        return SEQUENCE
    if kind is collections.abc.Callable:
        return "a callable, such as a function or a class"
    if kind in KINDS:
        return KINDS[kind]
    return f"an instance of {getattr(kind, '__name__', kind)}"


def shown(value: object) -> str:
    """Return a value as messages show it: its representation, or its type if the representation is long."""
    text = repr(value)
    return text if len(text) <= 80 and "\n" not in text else f"<{kind_of(value)}>"


def kind_of(value: object) -> str:
    """Return the type of a value in words, or the name of the class if the value is a class."""
    return f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"


def wrong_type(name: str, value: Any, kind: str) -> TypeError:
    """Return the error for an argument of the wrong type.

    Args:
        name: name of the argument.
        value: value that was passed.
        kind: noun phrase for the expected type.
    """
    if isinstance(value, type):
        return TypeError(f"{name} must be {kind}, got {kind_of(value)}: pass an instance instead.")
    text = shown(value)
    given = f"a value {kind_of(value)}" if text.startswith("<of type") else f"{text} {kind_of(value)}"
    return TypeError(f"{name} must be {kind}, got {given}: pass such a value.")


def wrong_value(name: str, value: Any, bounds: str, advice: str = "pass such a value") -> ValueError:
    """Return the error for an argument of the right type with a value that is not allowed.

    Args:
        name: name of the argument.
        value: value that was passed.
        bounds: noun phrase for the allowed values.
        advice: clause that says what to do.
    """
    return ValueError(f"{name} must be {bounds}, got {shown(value)}: {advice}.")
