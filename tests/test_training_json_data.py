"""Plain data comes back from JSON exactly, and differences between two values are listed by name."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from odenet.training.json_data import differences, from_json_data, to_json_data

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def equal(a: Any, b: Any) -> bool:
    """Whether two values are equal, where NaN equals itself and 1 differs from 1.0 and True."""
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    return type(a) is type(b) and a == b


@given(TREES)
def test_plain_data_come_back_from_standard_json_as_they_were(tree: Any) -> None:
    text = json.dumps(to_json_data(tree), allow_nan=False)
    assert equal(from_json_data(json.loads(text)), tree)


@dataclass
class Inner:
    rates: tuple[float, ...]


@dataclass
class Outer:
    folder: Path
    inner: Inner


def test_dataclasses_tuples_and_paths_become_plain() -> None:
    assert to_json_data(Outer(Path("a") / "b", Inner((0.1, 1.0)))) == {"folder": "a/b", "inner": {"rates": [0.1, 1.0]}}


@pytest.mark.parametrize("value", [torch.tensor(1.0), np.int64(1), {1}, object()])
def test_what_json_cannot_hold_is_refused_by_its_place(value: Any) -> None:
    with pytest.raises(TypeError, match=rf"result\.curve\[1\] is a {type(value).__name__}.*\.item\(\) and \.tolist"):
        to_json_data({"curve": [1, value]}, "result")


def test_a_key_that_would_come_back_as_another_is_refused() -> None:
    with pytest.raises(TypeError, match=r"result\.levels has the key 2, .* use strings, e\.g\. '2'"):
        to_json_data({"levels": {2: 0.5}}, "result")


def test_numpy_floats_are_floats() -> None:
    assert type(to_json_data(np.float64(0.5))) is float


@given(TREES)
def test_data_do_not_differ_from_themselves(tree: Any) -> None:
    assert differences(to_json_data(tree), to_json_data(tree)) == []


def test_differences_are_named_with_both_values() -> None:
    asked = {"lr": 0.1, "net": {"widths": [16, 32], "norm": None}, "new": 1}
    found = {"lr": 0.2, "net": {"widths": [16, 64], "norm": None}, "old": []}
    assert differences(asked, found) == [
        "lr: asked for 0.1, found 0.2",
        "net.widths[1]: asked for 32, found 64",
        "new: asked for 1, found nothing",
        "old: asked for nothing, found []",
    ]


def test_a_switch_is_no_number_but_a_whole_float_is_an_int() -> None:
    assert differences({"on": True}, {"on": 1}) == ["on: asked for True, found 1"]
    assert differences({"h": 1}, {"h": 1.0}) == []


def test_of_many_differences_the_first_are_shown_and_the_others_counted() -> None:
    lines = differences(dict.fromkeys("abcdef", 1), dict.fromkeys("abcdef", 2), limit=2)
    assert lines == ["a: asked for 1, found 2", "b: asked for 1, found 2", "and 4 more"]
