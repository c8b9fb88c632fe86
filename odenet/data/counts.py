"""A count: a whole number between bounds, checked where the user gives it."""

from __future__ import annotations

import operator
from typing import SupportsIndex


def whole_number(name: str, value: SupportsIndex, least: int, most: int | None = None, *, because: str) -> int:
    """`value` as an `int` n with least ≤ n ≤ most.

    Args:
        name: What the number is called where the user gives it, for the message.
        value: An `int`, or what NumPy and torch call one; a `bool` or a `float` is none, even when it is whole.
        least: The smallest value allowed.
        most: The largest value allowed; no bound if `None`.
        because: Why no other value can be, for the message: a clause.

    Raises:
        TypeError: `value` is not a whole number.
        ValueError: `value` lies outside the bounds.

    >>> whole_number("batch_size", 0, 1, because="a batch holds at least one image")
    Traceback (most recent call last):
    ...
    ValueError: batch_size=0 cannot be: a batch holds at least one image; give a whole number of at least 1.
    """
    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
    refusal = f"{name}={value!r} cannot be: {because}; give a whole number {bounds}."
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(refusal) from None
    if isinstance(value, bool):
        raise TypeError(refusal)
    if number < least or (most is not None and number > most):
        raise ValueError(refusal)
    return number
