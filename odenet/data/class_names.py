"""Names of classes, checked where the user gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def class_names(classes: Iterable[str]) -> tuple[str, ...]:
    """`classes` as a tuple of names, in the order of their numbers.

    Raises:
        TypeError: it is text, or no sequence of texts.
        ValueError: there is no class, or two have one name.

    >>> class_names(["ground", "horse"])
    ('ground', 'horse')
    >>> class_names("horse")
    Traceback (most recent call last):
    ...
    TypeError: classes='horse' cannot be the names of classes: text is a sequence of letters, each of which would be a \
class; give a tuple of names, such as ('horse',).
    """
    if isinstance(classes, str):
        raise TypeError(
            f"classes={classes!r} cannot be the names of classes: text is a sequence of letters, each of which would "
            f"be a class; give a tuple of names, such as ({classes!r},)."
        )
    is_several = isinstance(classes, Iterable) and not isinstance(classes, Mapping)
    names: tuple[Any, ...] = tuple(classes) if is_several else (None,)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(
            f"classes={classes!r} cannot be the names of classes: each class has a name, which is text; give a tuple "
            "of names, such as ('ground', 'horse')."
        )
    if not names:
        raise ValueError("classes=() cannot be: there is nothing to choose from; give the name of each class.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(
            f"classes={names!r} cannot be told apart: {twice[0]!r} is the name of two of them; give each its own."
        )
    return names
