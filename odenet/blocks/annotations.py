"""What an annotation says of a value: the marks of its bounds, and its kind in words, for messages."""

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
"""Words for types whose name is not enough."""

SEQUENCE = "a sequence of values, (…, …)"
"""Words for a tuple, a list or another sequence."""

SEVERAL: dict[Any, tuple[type, ...]] = {
    tuple: (tuple, list),
    list: (tuple, list),
    collections.abc.Sequence: (collections.abc.Sequence, nn.ModuleList, nn.Sequential),
    collections.abc.Iterable: (collections.abc.Iterable,),
}
"""What may be given where several values are meant, by the type of the annotation."""


@dataclass(frozen=True)
class Within:
    """A bound of a number: `Annotated[float, Within(0, 1)]`."""

    least: float
    """The smallest value."""
    most: float = math.inf
    """The largest value."""


@dataclass(frozen=True)
class Inside:
    """The function compares the value itself, and says more: of a number its bounds, of anything else its kind too."""


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
    """The names that a text may be: `Annotated[tuple[str, ...], OneOf(NETS)]`."""

    names: Iterable[str]
    """All of them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))  # an annotation can be hashed


@dataclass(frozen=True)
class Different:
    """The entries of a tuple are different: `Annotated[tuple[int, ...], Different()]`."""


@dataclass(frozen=True)
class MayBeEmpty:
    """There may be no entries, though the default has some: `Annotated[Sequence[float], MayBeEmpty()]`."""


def described(hint: Any) -> str:
    """What a value of the annotation is, in words."""
    hint = hint.__bound__ if isinstance(hint, TypeVar) else hint
    kind = get_origin(hint) or hint
    if kind is Literal:
        return f"one of {', '.join(map(repr, get_args(hint)))}"
    if kind is Annotated:
        return described(get_args(hint)[0])
    if kind in SEVERAL:
        return SEQUENCE
    if kind is collections.abc.Callable:
        return "a callable, such as a function or a class"
    if kind in KINDS:
        return KINDS[kind]
    return f"an instance of {getattr(kind, '__name__', kind)}"


def shown(value: object) -> str:
    """Return the value as messages show it: its representation, or its type where that is long."""
    text = repr(value)
    return text if len(text) <= 80 and "\n" not in text else f"<{kind_of(value)}>"


def kind_of(value: object) -> str:
    """Return the type of the value in words; of a class, its name."""
    return f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"


def of_other_kind(name: str, value: Any, kind: str) -> TypeError:
    """Return the error for an argument `name` whose value is not `kind`, which is a noun phrase."""
    if isinstance(value, type):
        return TypeError(f"{name} must be {kind}, got {kind_of(value)}: pass an instance instead.")
    text = shown(value)
    given = f"a value {kind_of(value)}" if text.startswith("<of type") else f"{text} {kind_of(value)}"
    return TypeError(f"{name} must be {kind}, got {given}: pass such a value.")


def out_of_bounds(name: str, value: Any, bounds: str, advice: str = "pass such a value") -> ValueError:
    """Return the error for an argument `name` of the right kind whose value is not `bounds`, a noun phrase."""
    return ValueError(f"{name} must be {bounds}, got {shown(value)}: {advice}.")
