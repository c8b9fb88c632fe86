"""Annotations and values are put into words, and errors about arguments have three parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import pytest
import torch
from torch import nn

from odenet.blocks.annotations import OneOf, Within, describe, kind_of, shown, wrong_type, wrong_value


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "a whole number"),
        (Annotated[float, Within(0)], "a number"),
        (Literal["pre", "post"], "one of 'pre', 'post'"),
        (Sequence[int], "a sequence of values, (…, …)"),
        (Callable[[int], int], "a callable, such as a function or a class"),
        (torch.Tensor, "a tensor"),
        (nn.Linear, "an instance of Linear"),
    ],
    ids=str,
)
def test_an_annotation_is_described_in_words(hint: Any, words: str) -> None:
    assert describe(hint) == words


def test_a_long_value_is_shown_by_its_type() -> None:
    assert shown("a") == "'a'"
    assert shown(torch.zeros(100, 100)) == "<of type Tensor>"


def test_an_object_and_its_class_have_different_descriptions() -> None:
    assert kind_of(nn.ReLU()) == "of type ReLU"
    assert kind_of(nn.ReLU) == "the class ReLU"


def test_errors_say_what_was_passed_why_it_is_wrong_and_what_to_do() -> None:
    assert str(wrong_type("n", "a", "a number")) == ("n must be a number, got 'a' of type str: pass such a value.")
    assert str(wrong_type("n", nn.ReLU, "an instance of Linear")) == (
        "n must be an instance of Linear, got the class ReLU: pass an instance instead."
    )
    assert str(wrong_type("n", torch.zeros(100, 100), "a number")) == (
        "n must be a number, got a value of type Tensor: pass such a value."
    )
    assert str(wrong_value("n", 3, "a number from 0 to 2")) == (
        "n must be a number from 0 to 2, got 3: pass such a value."
    )


def test_allowed_names_are_hashable() -> None:
    assert hash(OneOf(["a", "b"])) == hash(OneOf(("a", "b")))
