"""What messages say of values and of annotations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import pytest
import torch
from torch import nn

from odenet.blocks.annotations import OneOf, Within, described, kind_of, of_other_kind, out_of_bounds, shown


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
def test_an_annotation_is_said_in_words(hint: Any, words: str) -> None:
    assert described(hint) == words


def test_a_value_is_shown_in_short() -> None:
    assert shown("a") == "'a'"
    assert shown(torch.zeros(100, 100)) == "<of type Tensor>"


def test_an_object_and_its_class_are_told_apart() -> None:
    assert kind_of(nn.ReLU()) == "of type ReLU"
    assert kind_of(nn.ReLU) == "the class ReLU"


def test_refusals_say_what_was_asked_why_not_and_what_to_do() -> None:
    assert str(of_other_kind("n", "a", "a number")) == ("n must be a number, got 'a' of type str: pass such a value.")
    assert str(of_other_kind("n", nn.ReLU, "an instance of Linear")) == (
        "n must be an instance of Linear, got the class ReLU: pass an instance instead."
    )
    assert str(of_other_kind("n", torch.zeros(100, 100), "a number")) == (
        "n must be a number, got a value of type Tensor: pass such a value."
    )
    assert str(out_of_bounds("n", 3, "a number from 0 to 2")) == (
        "n must be a number from 0 to 2, got 3: pass such a value."
    )


def test_names_can_be_hashed() -> None:
    assert hash(OneOf(["a", "b"])) == hash(OneOf(("a", "b")))
