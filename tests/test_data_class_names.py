"""Names of classes are texts that differ, wherever they are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from odenet.data import MaskedImages, load
from odenet.data.class_names import class_names
from odenet.training import MultiLabel

TAKERS: dict[str, Callable[[Any], Any]] = {
    "class_names": class_names,
    "MultiLabel": MultiLabel,
    "MaskedImages": lambda names: MaskedImages((Path("a"),), (Path("b"),), names),
    "ImageData": lambda names: replace(load("digits"), classes=names),
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ("abc", TypeError, r"classes='abc' cannot be the names.*each letter .* would be a class.*such as \('abc',\)"),
        (-1, TypeError, r"classes=-1 cannot be the names of classes: each name is a string"),
        (None, TypeError, r"classes=None cannot be the names of classes"),
        ((0, 1), TypeError, r"classes=\(0, 1\) cannot be the names of classes: each name is a string"),
        ((), ValueError, r"classes=\(\) is empty: there is no class to predict; give the name of each class"),
        (("a", "b", "a"), ValueError, r"has duplicates: 'a' occurs twice"),
    ],
)
def test_what_are_no_names_is_refused_with_what_was_given(
    taker: str, names: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        TAKERS[taker](names)


def test_a_list_of_names_is_kept_as_a_tuple() -> None:
    assert MultiLabel(["horse", "church"]).classes == ("horse", "church")  # pyright: ignore[reportArgumentType]
