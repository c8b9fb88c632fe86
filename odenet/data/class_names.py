"""Validation of the class names that a user gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def class_names(classes: Iterable[str]) -> tuple[str, ...]:
    """Return `classes` as a tuple of names, in the order of the class numbers.

    Raises:
        TypeError: if `classes` is a string, or not a sequence of strings.
        ValueError: if there is no class, or two classes have the same name.

    >>> class_names(["ground", "horse"])
    ('ground', 'horse')
    >>> class_names("horse")
    Traceback (most recent call last):
    ...
    TypeError: classes='horse' cannot be the names of classes: each letter of this string would be a \
class; give a tuple of names, such as ('horse',).
    """
    if isinstance(classes, str):
        raise TypeError(
            f"classes={classes!r} cannot be the names of classes: each letter of this string would be a class; "
            f"give a tuple of names, such as ({classes!r},)."
        )
    is_several = isinstance(classes, Iterable) and not isinstance(classes, Mapping)
    names: tuple[Any, ...] = tuple(classes) if is_several else (None,)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(
            f"classes={classes!r} cannot be the names of classes: each name is a string; give a tuple of names, such "
            "as ('ground', 'horse')."
        )
    if not names:
        raise ValueError("classes=() is empty: there is no class to predict; give the name of each class.")
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ValueError(
            f"classes={names!r} has duplicates: {repeated[0]!r} occurs twice; give each class a name of its own."
        )
    return names
