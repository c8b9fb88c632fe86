"""Arguments, compared with their annotations: what is given is what is meant, or it is refused by name.

`@checked` on a constructor or function does that for each of its arguments, `check_fields` for those of a dataclass.
Values of the right kind are handed on with numbers of Python's own types. The conventions are the same everywhere:
without a `Within`, whole numbers are at least 1 and other numbers greater than 0 and finite, 0 is allowed where it is
the default, and of several values there is at least one, unless the default is none. NumPy's numbers are numbers, True
and False are not, nor are texts.
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
    SEVERAL,
    Different,
    Inside,
    MayBeEmpty,
    OneOf,
    Within,
    described,
    of_other_kind,
    out_of_bounds,
)
from odenet.blocks.errors import unknown_name

P = ParamSpec("P")
R = TypeVar("R")

_LARGEST = 2**63 - 1
"""Counts are sizes of tensors, which torch keeps in 64 bits."""

_NOTHING_TO_DO = "with none there is nothing to do"


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, called with arguments that are what their annotations say.

    Arguments that are the default itself are not looked at, nor are those whose annotation only type checkers know.

    Raises:
        TypeError: when called, an argument of another kind: "0.1", True and None are no numbers.
        ValueError: when called, a number outside its bounds, no values, or an unknown name.

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
        if torch.compiler.is_compiling():  # in a graph there are no messages, and a solver is fitted to its steps
            return function(*args, **kwargs)
        signature = _signature(function)  # no variable of the closure: torch.compile would have to follow it
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # Python says better what is missing
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
    """Compare each field of a dataclass with its annotation, and make numbers of NumPy those of Python.

    Args:
        instance: of a dataclass, frozen or not.
        bounded: whether numbers have to lie within their bounds; else only their kind counts.

    Raises:
        TypeError: a value of another kind.
        ValueError: a value outside its bounds, or an unknown name.
    """
    hints = _hints(type(instance))
    for entry in (entry for entry in fields(instance) if entry.init):
        checker = _Checker(_default_of(entry), bounded)
        value = checker.checked(entry.name, getattr(instance, entry.name), hints[entry.name], ())
        object.__setattr__(instance, entry.name, value)


def _default_of(entry: Field[Any]) -> Any:
    return entry.default if entry.default is not MISSING else None


def checked_value(name: str, value: Any, hint: Any, default: Any = None) -> Any:
    """One value, called `name` where the user gives it, as `checked` compares arguments with the annotation `hint`."""
    return _Checker(default, bounded=True).checked(name, value, hint, ())


@cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


@cache
def _hints(annotated: Any) -> dict[str, Any]:
    """The annotations by name; Any where they name what is imported for type checkers alone."""
    found: dict[str, Any] = {}
    for owner in reversed(annotated.__mro__) if isinstance(annotated, type) else (inspect.unwrap(annotated),):
        names = vars(inspect.getmodule(owner)) if isinstance(owner, type) else owner.__globals__
        for name, annotation in inspect.get_annotations(owner).items():
            found[name] = _evaluated(annotation, names)
    if not isinstance(annotated, type):
        found = {name: found.get(name, Any) for name in inspect.signature(annotated).parameters}
    return found


def _evaluated(annotation: Any, names: Mapping[str, Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, dict(names))  # as `typing.get_type_hints` does, for all at once
    except NameError:
        return Any


@dataclass(frozen=True)
class _Checker:
    """What checks the value of one argument."""

    default: Any
    bounded: bool

    def checked(self, name: str, value: Any, hint: Any, limits: tuple[Any, ...]) -> Any:
        """The value, of the type `hint` and within the limits."""
        hint, limits = _unwrapped(hint, limits)
        if Inside() in limits and hint is not int and hint is not float:
            return value
        origin, arguments = get_origin(hint), get_args(hint)
        if origin in (Union, UnionType):
            return self._of_union(name, value, arguments, limits)
        if origin is Literal:
            return _of_names(name, value, arguments)
        if hint is int or hint is float:
            return self._number(name, value, hint, limits)
        if origin is tuple and arguments[-1] is not Ellipsis:
            return self._of_places(name, value, arguments, limits)
        if isinstance(origin, type) and issubclass(origin, collections.abc.Mapping):
            return self._of_mapping(name, value, arguments, limits)
        if origin is not None and origin in SEVERAL:
            return self._of_several(name, value, origin, arguments, limits)
        if not _is_of(value, hint):
            raise of_other_kind(name, value, described(hint))
        if hint is str:
            for limit in (limit for limit in limits if isinstance(limit, OneOf)):
                _of_names(name, value, limit.names)
        return value

    def _of_union(self, name: str, value: Any, hints: tuple[Any, ...], limits: tuple[Any, ...]) -> Any:
        if value is None and NoneType in hints:
            return None
        if torch.device in hints and isinstance(value, str):
            return _device(name, value)
        refusals: list[Exception] = []
        for hint in (hint for hint in hints if hint is not NoneType):
            try:
                return self.checked(name, value, hint, limits)
            except (TypeError, ValueError) as error:
                refusals.append(error)
        if of_its_kind := [error for error in refusals if isinstance(error, ValueError)]:
            raise of_its_kind[-1]
        within = [error for error in refusals if not str(error).startswith(f"{name} must be ")]
        raise within[0] if within else of_other_kind(name, value, " or ".join(map(described, hints)))

    def _of_places(self, name: str, value: Any, hints: tuple[Any, ...], limits: tuple[Any, ...]) -> tuple[Any, ...]:
        if not isinstance(value, tuple | list):
            raise of_other_kind(name, value, SEQUENCE)
        if len(value) != len(hints):
            raise out_of_bounds(name, value, f"a sequence of {len(hints)} values")
        pairs = enumerate(zip(value, hints, strict=True))
        return tuple(self.checked(f"{name}[{i}]", *pair, limits) for i, pair in pairs)

    def _of_several(self, name: str, value: Any, kind: type, hints: tuple[Any, ...], limits: tuple[Any, ...]) -> Any:
        if not isinstance(value, SEVERAL[kind]) or isinstance(value, str | bytes) or hasattr(value, "__array__"):
            raise of_other_kind(name, value, SEQUENCE)
        entries = list(value)
        if (
            self.bounded
            and not entries
            and not _is_empty(self.default)
            and not any(isinstance(limit, MayBeEmpty) for limit in limits)
        ):
            raise out_of_bounds(name, value, "a sequence of at least one value", _NOTHING_TO_DO)
        found = [self.checked(f"{name}[{i}]", entry, hints[0], limits) for i, entry in enumerate(entries)]
        different = (hints[0] is str and kind is tuple) or any(isinstance(limit, Different) for limit in limits)
        if self.bounded and different and len(set(found)) < len(found):
            raise out_of_bounds(name, value, "a sequence of different values", "leave out the repeated ones")
        return found if isinstance(value, list) and kind is not tuple else tuple(found)

    def _of_mapping(self, name: str, value: Any, hints: tuple[Any, ...], limits: tuple[Any, ...]) -> Any:
        if not isinstance(value, Mapping):
            raise of_other_kind(name, value, KINDS[collections.abc.Mapping])
        if self.bounded and not value and not any(isinstance(limit, MayBeEmpty) for limit in limits):
            raise out_of_bounds(name, value, "a dictionary of at least one value", _NOTHING_TO_DO)
        for key, entry in value.items():
            self.checked(f"a key of {name}", key, hints[0], ())
            self.checked(f"{name}[{key!r}]", entry, hints[1], limits)
        return value

    def _number(self, name: str, value: Any, kind: type[int] | type[float], limits: tuple[Any, ...]) -> int | float:
        whole = kind is int
        number = _whole(value) if whole else _real(value)
        if number is None:
            raise of_other_kind(name, value, KINDS[kind])
        if (not self.bounded or Inside() in limits) and (isinstance(number, float) or abs(number) <= _LARGEST):
            return value if Inside() in limits and isinstance(value, int) else number
        within = next((limit for limit in limits if isinstance(limit, Within)), None)
        if not math.isfinite(number) or not self._is_allowed(number, within, whole=whole):
            raise out_of_bounds(name, value, self._bounds(whole, within))
        return number

    def _is_allowed(self, number: float, within: Within | None, *, whole: bool) -> bool:
        if within is not None and (within.most < math.inf or not whole):
            return within.least <= number <= within.most
        if whole and abs(number) > _LARGEST:
            return False
        return number >= within.least if within is not None else number > 0 or (number == 0 and _is_zero(self.default))

    def _bounds(self, whole: bool, within: Within | None) -> str:
        """Return the allowed numbers in words."""
        kind = "a whole number" if whole else "a finite number"
        if within is not None and within.most < math.inf:
            return f"a {'whole ' if whole else ''}number from {within.least} to {within.most}"
        if within is not None and within.least == -math.inf:
            return "a whole number of 64 bits" if whole else kind
        least = within.least if within is not None else 0 if _is_zero(self.default) else 1 if whole else None
        return f"{kind} greater than 0" if least is None else f"{kind} of at least {least}"


def _unwrapped(hint: Any, limits: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """What is annotated, and by what."""
    while get_origin(hint) is Annotated:
        hint, *own = get_args(hint)
        limits = (*limits, *own)
    return hint, limits


def _whole(value: Any) -> int | None:
    """`value` as an `int`, None where it is no whole number."""
    if isinstance(value, Tensor) and (value.dim() or value.dtype == torch.bool):
        return None
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except (TypeError, RuntimeError):  # of a tensor of fractions, or on the meta device
        return None


def _real(value: Any) -> float | None:
    """`value` as a `float`, None where it is no number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return math.inf
    return number


def _of_names(name: str, value: Any, names: Iterable[Any]) -> Any:
    known = list(names)
    if isinstance(value, bool) or not any(isinstance(value, type(one)) and value == one for one in known):
        raise unknown_name(name, value, map(str, known))
    return value


def _device(name: str, value: str) -> torch.device:
    try:
        return torch.device(value)
    except RuntimeError:
        raise out_of_bounds(name, value, "a device that torch knows, such as 'cpu' or 'cuda:0'") from None


def _is_of(value: Any, hint: Any) -> bool:
    """Whether the value is of the class that the annotation names, if it names any."""
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
