"""Checked settings: a dataclass whose values are compared with their annotations before anything runs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import MISSING, Field, dataclass, fields
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from odenet.blocks.errors import unknown_name

_KINDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text", Path: "a path"}


@dataclass(frozen=True)
class Within:
    """A bound of a number: `Annotated[float, Within(0, 1)]`."""

    least: float
    """The smallest value."""
    most: float = math.inf
    """The largest value."""


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
class Checked:
    """A frozen dataclass of settings, each of which is what its annotation says, with numbers of Python's own types.

    Where the annotation has no `Within`, whole numbers are at least 1 and other numbers greater than 0 and finite;
    0 is allowed if it is the default. A tuple of any length has at least one entry, if its default has, and none twice
    where they are names.

    Raises:
        TypeError: A value is of another type: "0.1", True and None are no numbers.
        ValueError: A value lies outside its bounds, or a name is unknown.

    >>> @dataclass(frozen=True)
    ... class Widths(Checked):
    ...     widths: tuple[int, ...] = (8, 16)
    ...     dice: Annotated[float, Within(0, 1)] = 0.5
    >>> Widths(widths=(8, 0))
    Traceback (most recent call last):
    ...
    ValueError: widths[1]=0 cannot be: it is a whole number of at least 1; give such a value.
    """

    def __post_init__(self) -> None:
        for entry in fields(self):
            _settle(self, entry, bounded=True)


def check_types(settings: Any) -> None:
    """Refuse a value of another type than that of its field, and make numbers of NumPy those of Python.

    Raises:
        TypeError: There is one.
    """
    for entry in fields(settings):
        _settle(settings, entry, bounded=False)


def _settle(settings: Any, entry: Field[Any], *, bounded: bool) -> None:
    hint = get_type_hints(type(settings), include_extras=True)[entry.name]
    checker = _Checker(entry.default if entry.default is not MISSING else None, bounded)
    object.__setattr__(settings, entry.name, checker.checked(entry.name, getattr(settings, entry.name), hint, ()))


@dataclass(frozen=True)
class _Checker:
    """What checks the value of one field."""

    default: Any
    bounded: bool

    def checked(self, name: str, value: Any, hint: Any, limits: tuple[Any, ...]) -> Any:
        """The value, of the type `hint` and within the limits."""
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Annotated:
            return self.checked(name, value, arguments[0], arguments[1:])
        if origin in (Union, UnionType):
            return self._of_union(name, value, arguments, limits)
        if origin is Literal:
            return self._of_names(name, value, arguments)
        if origin is tuple:
            return self._of_tuple(name, value, arguments, limits)
        if hint is int or hint is float:
            return self._number(name, value, hint, limits)
        if isinstance(hint, type) and not isinstance(value, hint):
            raise _of_other_type(name, value, _KINDS.get(hint, f"of type {hint.__name__}"))
        if hint is str:
            for limit in (limit for limit in limits if isinstance(limit, OneOf)):
                self._of_names(name, value, limit.names)
        return value

    def _of_union(self, name: str, value: Any, hints: tuple[Any, ...], limits: tuple[Any, ...]) -> Any:
        if value is None and NoneType in hints:
            return None
        others = [hint for hint in hints if hint is not NoneType]
        for hint in others[:-1]:
            try:
                return self.checked(name, value, hint, limits)
            except (TypeError, ValueError):
                continue
        return self.checked(name, value, others[-1], limits)

    def _of_names(self, name: str, value: Any, names: Iterable[Any]) -> Any:
        if value not in (known := list(names)) or isinstance(value, bool):
            raise unknown_name(name, value, map(str, known))
        return value

    def _of_tuple(self, name: str, value: Any, hints: tuple[Any, ...], limits: tuple[Any, ...]) -> tuple[Any, ...]:
        if not isinstance(value, tuple | list):
            raise _of_other_type(name, value, "several values, (…, …)")
        if hints[-1] is not Ellipsis:
            if len(value) != len(hints):
                raise _out_of_bounds(name, value, f"{len(hints)} values")
            return tuple(
                self.checked(f"{name}[{i}]", *pair, limits) for i, pair in enumerate(zip(value, hints, strict=True))
            )
        if self.bounded and not value and self.default != ():
            raise _out_of_bounds(name, value, "at least one value: with none there is nothing to do")
        found = tuple(self.checked(f"{name}[{i}]", entry, hints[0], limits) for i, entry in enumerate(value))
        different = hints[0] is str or any(isinstance(limit, Different) for limit in limits)
        if self.bounded and different and len(set(found)) < len(found):
            raise _out_of_bounds(name, value, "different values: the same work twice would be one result")
        return found

    def _number(self, name: str, value: Any, kind: type[int] | type[float], limits: tuple[Any, ...]) -> int | float:
        whole = kind is int
        if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
            raise _of_other_type(name, value, _KINDS[kind])
        number = kind(value)  # pyright: ignore[reportArgumentType]  (an Integral or a Real is converted)
        if not self.bounded:
            return number
        within = next((limit for limit in limits if isinstance(limit, Within)), None)
        if not math.isfinite(number) or not self._is_allowed(number, within):
            raise _out_of_bounds(name, value, f"{_KINDS[kind]} {self._bounds(whole, within)}")
        return number

    def _is_allowed(self, number: float, within: Within | None) -> bool:
        if within is not None:
            return within.least <= number <= within.most
        return number > 0 or (number == 0 and self.default == 0)

    def _bounds(self, whole: bool, within: Within | None) -> str:
        """In words."""
        if within is not None and within.most < math.inf:
            return f"from {within.least} to {within.most}"
        least = within.least if within is not None else 0 if self.default == 0 else 1 if whole else None
        return ("greater than 0" if least is None else f"of at least {least}") + ("" if whole else ", and finite")


def _of_other_type(name: str, value: Any, kind: str) -> TypeError:
    return TypeError(
        f"{name}={value!r} cannot be: it is {kind}, and not of type {type(value).__name__}; give such a value."
    )


def _out_of_bounds(name: str, value: Any, bounds: str) -> ValueError:
    return ValueError(f"{name}={value!r} cannot be: it is {bounds}; give such a value.")
