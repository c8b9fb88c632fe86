"""Base class of dataclasses of settings whose values are checked against their annotations at construction."""

from __future__ import annotations

from dataclasses import dataclass

from odenet.blocks.annotations import Different, OneOf, Within
from odenet.blocks.arguments import check_fields

__all__ = ["Checked", "Different", "OneOf", "Within"]


@dataclass(frozen=True)
class Checked:
    """Frozen dataclass of settings, which checks each value against its annotation and converts NumPy's numbers.

    Where the annotation has no `Within`, whole numbers are at least 1 and other numbers greater than 0 and finite;
    0 is allowed if it is the default. A tuple of any length has at least one entry if its default has one, and names in
    it must differ.

    Raises:
        TypeError: if a value is of another type: "0.1", True and None are not numbers.
        ValueError: if a value lies outside its bounds, or a name is unknown.

    >>> @dataclass(frozen=True)
    ... class Widths(Checked):
    ...     widths: tuple[int, ...] = (8, 16)
    ...     dice: Annotated[float, Within(0, 1)] = 0.5
    >>> Widths(widths=(8, 0))
    Traceback (most recent call last):
    ...
    ValueError: widths[1] must be a whole number of at least 1, got 0: pass such a value.
    """

    def __post_init__(self) -> None:
        check_fields(self)
