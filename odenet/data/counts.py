"""Validation of whole numbers that a user gives: counts, indices and seeds."""

from __future__ import annotations

from typing import SupportsIndex

from odenet.blocks.arguments import as_int


def whole_number(name: str, value: SupportsIndex, least: int, most: int | None = None, *, because: str) -> int:
    """Return `value` as an `int` n, after checking that least ≤ n ≤ most.

    Args:
        name: Name of the argument, for the message.
        value: An `int`, or an integer of NumPy or torch; a `bool` or a `float` is refused, even if it is whole.
        least: Smallest value allowed.
        most: Largest value allowed; no upper bound if `None`.
        because: Reason for the bounds, a clause for the message.

    Raises:
        TypeError: if `value` is not a whole number.
        ValueError: if `value` is out of range.

    >>> whole_number("batch_size", 0, 1, because="a batch holds at least one image")
    Traceback (most recent call last):
    ...
    ValueError: batch_size must be a whole number of at least 1, got 0: a batch holds at least one image.
    """
    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
    message = f"{name} must be a whole number {bounds}, got {value!r}: {because}."
    number = as_int(value)
    if number is None:
        raise TypeError(message)
    if number < least or (most is not None and number > most):
        raise ValueError(message)
    return number
