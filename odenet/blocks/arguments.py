"""Checks of arguments against their annotations, with an error that names the argument.

`@checked` checks every argument of a constructor or function, and `check_fields` every field of a dataclass. NumPy's
numbers are converted to Python's. The conventions are the same everywhere: without a `Within`, a whole number is at
least 1 and any other number is finite and greater than 0, but 0 is allowed where it is the default; a sequence has at
least one entry unless its default has none. True, False and strings are not numbers.
"""

from __future__ import annotations

import collections.abc
import inspect
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache, wraps
from numbers import Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

import torch
from torch import Tensor

from odenet.blocks.annotations import (
    KINDS,
    SEQUENCE,
    SEQUENCE_TYPES,
    Different,
    Inside,
    MayBeEmpty,
    OneOf,
    Within,
    describe,
    wrong_type,
    wrong_value,
)
from odenet.blocks.errors import unknown_name

P = ParamSpec("P")
R = TypeVar("R")

_LARGEST = 2**63 - 1
"""Largest count: counts become sizes of tensors, and torch stores those in 64 bits."""

_NOTHING_TO_DO = "with none there is nothing to do"


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that every call compares its arguments with their annotations.

    Arguments that are the default object itself are not checked, nor are those whose annotation is imported for type
    checkers alone.

    Raises:
        TypeError: when called, if an argument has the wrong type; "0.1", True and None are not numbers.
        ValueError: when called, if a number is out of bounds, a sequence is empty, or a name is unknown.

    >>> @checked
    ... def steps(per_piece: int, *, horizon: float = 1.0) -> float:
    ...     return horizon / per_piece
    >>> steps(0)
    Traceback (most recent call last):
    ...
    ValueError: per_piece must be a whole number of at least 1, got 0: pass such a value.
    """

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():  # a graph cannot raise messages
            return function(*args, **kwargs)
        signature = _signature(function)  # not a closure variable: torch.compile would have to trace it
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # Python's own message names the missing argument
        hints = _hints(function)
        for name, value in bound.arguments.items():
            parameter = signature.parameters[name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                entries = enumerate(value)
                bound.arguments[name] = tuple(checked_value(f"{name}[{i}]", entry, hints[name]) for i, entry in entries)
            elif parameter.kind is not parameter.VAR_KEYWORD and value is not parameter.default:
                bound.arguments[name] = checked_value(name, value, hints[name], parameter.default)
        return function(*bound.args, **bound.kwargs)

    return called


def check_fields(instance: Any, *, bounded: bool = True) -> None:
    """Compare each field of a dataclass with its annotation, and convert NumPy's numbers to Python's.

    Args:
        instance: instance of a dataclass, frozen or not.
        bounded: whether to check the bounds of numbers; if not, only their types are checked.

    Raises:
        TypeError: if a value has the wrong type.
        ValueError: if a value is out of bounds, or a name is unknown.
    """
    hints = _hints(type(instance))
    for entry in (entry for entry in fields(instance) if entry.init):
        checker = _Checker(_default_of(entry), bounded)
        value = checker.checked(entry.name, getattr(instance, entry.name), hints[entry.name], ())
        object.__setattr__(instance, entry.name, value)


def _default_of(entry: Field[Any]) -> Any:
    return entry.default if entry.default is not MISSING else None


def checked_value(name: str, value: Any, hint: Any, default: Any = None) -> Any:
    """Return one value after checking it as `checked` checks an argument `name` with the annotation `hint`."""
    return _Checker(default, bounded=True).checked(name, value, hint, ())


@cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


@cache
def _hints(annotated: Any) -> dict[str, Any]:
    """Return the annotations by name; Any where one names something that is imported for type checkers alone."""
    found: dict[str, Any] = {}
    for owner in reversed(annotated.__mro__) if isinstance(annotated, type) else (inspect.unwrap(annotated),):
        names = vars(inspect.getmodule(owner)) if isinstance(owner, type) else owner.__globals__
        for name, annotation in inspect.get_annotations(owner).items():
            found[name] = _evaluate(annotation, names)
    if not isinstance(annotated, type):
        found = {name: found.get(name, Any) for name in inspect.signature(annotated).parameters}
    return found


def _evaluate(annotation: Any, names: Mapping[str, Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, dict(names))  # as `typing.get_type_hints` does, but one by one
    except NameError:
        return Any


@dataclass(frozen=True)
class _Checker:
    """Checks the value of one argument, given its default and whether bounds count."""

    default: Any
    bounded: bool

    def checked(self, name: str, value: Any, hint: Any, limits: tuple[Any, ...]) -> Any:
        """Return the value, converted to the type `hint`, or raise if it does not fit the type and the limits."""
        hint, limits = _unwrap(hint, limits)
        if Inside() in limits and hint is not int and hint is not float:
            return value
        origin, arguments = get_origin(hint), get_args(hint)
        if origin in (Union, UnionType):
            return self._check_union(name, value, arguments, limits)
        if origin is Literal:
            return _check_name(name, value, arguments)
        if hint is int or hint is float:
            return self._check_number(name, value, hint, limits)
        if origin is tuple and arguments[-1] is not Ellipsis:
            return self._check_fixed_length(name, value, arguments, limits)
        if isinstance(origin, type) and issubclass(origin, collections.abc.Mapping):
            return self._check_mapping(name, value, arguments, limits)
        if origin is not None and origin in SEQUENCE_TYPES:
            return self._check_sequence(name, value, origin, arguments, limits)
        if not _is_instance(value, hint):
            raise wrong_type(name, value, describe(hint))
        if hint is str:
            for limit in (limit for limit in limits if isinstance(limit, OneOf)):
                _check_name(name, value, limit.names)
        return value

    def _check_union(self, name: str, value: Any, hints: tuple[Any, ...], limits: tuple[Any, ...]) -> Any:
        if value is None and NoneType in hints:
            return None
        if torch.device in hints and isinstance(value, str):
            return _check_device(name, value)
        refusals: list[Exception] = []
        for hint in (hint for hint in hints if hint is not NoneType):
            try:
                return self.checked(name, value, hint, limits)
            except (TypeError, ValueError) as error:
                refusals.append(error)
        if value_errors := [error for error in refusals if isinstance(error, ValueError)]:
            raise value_errors[-1]
        type_errors = [error for error in refusals if not str(error).startswith(f"{name} must be ")]
        raise type_errors[0] if type_errors else wrong_type(name, value, " or ".join(map(describe, hints)))

    def _check_fixed_length(
        self, name: str, value: Any, hints: tuple[Any, ...], limits: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        if not isinstance(value, tuple | list):
            raise wrong_type(name, value, SEQUENCE)
        if len(value) != len(hints):
            raise wrong_value(name, value, f"a sequence of {len(hints)} values")
        pairs = enumerate(zip(value, hints, strict=True))
        return tuple(self.checked(f"{name}[{i}]", *pair, limits) for i, pair in pairs)

    def _check_sequence(self, name: str, value: Any, kind: type, hints: tuple[Any, ...], limits: Any) -> Any:
        if not isinstance(value, SEQUENCE_TYPES[kind]) or isinstance(value, str | bytes) or hasattr(value, "__array__"):
            raise wrong_type(name, value, SEQUENCE)
        entries = list(value)
        if self.bounded and not entries and not _is_empty(self.default) and MayBeEmpty() not in limits:
            raise wrong_value(name, value, "a sequence of at least one value", _NOTHING_TO_DO)
        found = [self.checked(f"{name}[{i}]", entry, hints[0], limits) for i, entry in enumerate(entries)]
        different = (hints[0] is str and kind is tuple) or Different() in limits
        if self.bounded and different and len(set(found)) < len(found):
            raise wrong_value(name, value, "a sequence of different values", "leave out the repeated ones")
        return found if isinstance(value, list) and kind is not tuple else tuple(found)

    def _check_mapping(self, name: str, value: Any, hints: tuple[Any, ...], limits: tuple[Any, ...]) -> Any:
        if not isinstance(value, Mapping):
            raise wrong_type(name, value, KINDS[collections.abc.Mapping])
        if self.bounded and not value and MayBeEmpty() not in limits:
            raise wrong_value(name, value, "a dictionary of at least one value", _NOTHING_TO_DO)
        for key, entry in value.items():
            self.checked(f"a key of {name}", key, hints[0], ())
            self.checked(f"{name}[{key!r}]", entry, hints[1], limits)
        return value

    def _check_number(
        self, name: str, value: Any, kind: type[int] | type[float], limits: tuple[Any, ...]
    ) -> int | float:
        whole = kind is int
        number = as_int(value) if whole else as_float(value)
        if number is None:
            raise wrong_type(name, value, KINDS[kind])
        if (not self.bounded or Inside() in limits) and (isinstance(number, float) or abs(number) <= _LARGEST):
            return value if Inside() in limits and isinstance(value, int) else number
        within = next((limit for limit in limits if isinstance(limit, Within)), None)
        if not math.isfinite(number) or not self._is_allowed(number, within, whole=whole):
            raise wrong_value(name, value, self._bounds(whole, within))
        return number

    def _is_allowed(self, number: float, within: Within | None, *, whole: bool) -> bool:
        if within is not None and (within.most < math.inf or not whole):
            return within.least <= number <= within.most
        if whole and abs(number) > _LARGEST:
            return False
        return number >= within.least if within is not None else number > 0 or (number == 0 and _is_zero(self.default))

    def _bounds(self, whole: bool, within: Within | None) -> str:
        """Return a noun phrase for the allowed numbers."""
        kind = "a whole number" if whole else "a finite number"
        if within is not None and within.most < math.inf:
            return f"a {'whole ' if whole else ''}number from {within.least} to {within.most}"
        if within is not None and within.least == -math.inf:
            return "a whole number of 64 bits" if whole else kind
        least = within.least if within is not None else 0 if _is_zero(self.default) else 1 if whole else None
        return f"{kind} greater than 0" if least is None else f"{kind} of at least {least}"


def _unwrap(hint: Any, limits: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """Return the annotated type and the marks on it, without `Annotated`."""
    while get_origin(hint) is Annotated:
        hint, *own = get_args(hint)
        limits = (*limits, *own)
    return hint, limits


def as_int(value: Any) -> int | None:
    """Return a whole number of Python, NumPy or torch as an `int`; None for anything else, True and 2.0 included."""
    if isinstance(value, Tensor) and (value.dim() or value.dtype == torch.bool):
        return None
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except (TypeError, RuntimeError):  # a floating-point tensor, or one on the meta device
        return None


def as_float(value: Any) -> float | None:
    """Return a real number of Python or NumPy as a `float`; None for anything else, True included."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return math.inf
    return number


def _check_name(name: str, value: Any, names: Iterable[Any]) -> Any:
    known = list(names)
    if isinstance(value, bool) or not any(isinstance(value, type(one)) and value == one for one in known):
        raise unknown_name(name, value, map(str, known))
    return value


def _check_device(name: str, value: str) -> torch.device:
    try:
        return torch.device(value)
    except RuntimeError:
        raise wrong_value(name, value, "a device that torch knows, such as 'cpu' or 'cuda:0'") from None


def _is_instance(value: Any, hint: Any) -> bool:
    """Whether the value is an instance of the class that the annotation names, if it names one."""
    hint = hint.__bound__ if isinstance(hint, TypeVar) else hint
    kind = get_origin(hint) or hint
    if kind is collections.abc.Callable:
        return callable(value)
    if kind is Any or not isinstance(kind, type) or getattr(kind, "_is_protocol", False):
        return True
    return isinstance(value, kind)


def _is_zero(default: Any) -> bool:
    return isinstance(default, int | float) and not isinstance(default, bool) and default == 0


def _is_empty(default: Any) -> bool:
    return isinstance(default, tuple | list) and not default
