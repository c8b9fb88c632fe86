"""Settings come back from JSON exactly, and reading them calls nothing but constructors of odenet and torch."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from odenet import (
    RK4,
    Adaptive,
    Backprop,
    BottleneckBranch,
    Constant,
    ContinuousAdjoint,
    Euler,
    FixedSteps,
    Galerkin,
    Midpoint,
    Solver,
    StochasticDepth,
    group_norm,
)
from odenet.models import resnet18, resnet20
from odenet.models.plain import Substitution
from odenet.training.json_settings import setting_from_expression, setting_from_json, setting_to_json


def there_and_back(value: object, names: dict[str, Any] | None = None) -> Any:
    """Return the value that is read from the text of a file."""
    return setting_from_json(json.loads(json.dumps(setting_to_json(value, names), allow_nan=False)), names)


SETTINGS = [
    FixedSteps(RK4(), per_piece=3),
    FixedSteps(Substitution()),
    Adaptive("dopri5", rtol=1e-3, atol=1e-4, max_evaluations=50, first_step=0.1),
    Adaptive("tsit5", rtol=1 / 3, atol=0, per_sample=True),
    Backprop(),
    ContinuousAdjoint(rtol=1e-6),
    StochasticDepth([1.0, 0.75, 1 / 3], per="sample", scaling="evaluation"),
]


@pytest.mark.parametrize("value", SETTINGS, ids=repr)
def test_settings_come_back_from_json_and_from_the_expressions_of_old_files(value: object) -> None:
    for again in (there_and_back(value), setting_from_expression(repr(value))):
        assert type(again) is type(value)
        assert repr(again) == repr(value)


_literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
)


@given(_literals)
def test_literals_come_back_exactly(value: Any) -> None:
    assert there_and_back(value) == value
    assert setting_from_expression(repr(value)) == value


@pytest.mark.parametrize(
    ("construction", "expression"),
    [
        (resnet20, "resnet20"),
        (partial(resnet20, 100, in_channels=1), "partial(resnet20, 100, in_channels=1)"),
        (partial(resnet18, norm=group_norm), "partial(resnet18, norm=group_norm)"),
        (
            partial(resnet18, branch=partial(BottleneckBranch, groups=2), norm=nn.InstanceNorm2d),
            "partial(resnet18, branch=partial(BottleneckBranch, groups=2), norm=InstanceNorm2d)",
        ),
        (partial(Galerkin, basis="fourier", horizon=0.1), "partial(Galerkin, basis='fourier', horizon=0.1)"),
        (torch.relu, "relu"),
        ([Constant, (Euler(), {"a": 1})], "[Constant, (Euler(), {'a': 1}, )]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_constructions_come_back_by_their_names(construction: object, expression: str) -> None:
    data = setting_to_json(construction)
    assert setting_to_json(there_and_back(construction)) == data
    assert setting_to_json(setting_from_expression(expression)) == data, "as files up to format 2 have it"


def test_a_constructor_is_written_by_name_with_its_arguments() -> None:
    assert setting_to_json(partial(resnet20, 100, norm=group_norm)) == {
        "call": "partial",
        "args": [{"name": "resnet20"}, 100],
        "kwargs": {"norm": {"name": "group_norm"}},
    }
    assert setting_to_json(FixedSteps(Euler(), 2)) == {
        "call": "FixedSteps",
        "args": [{"call": "Euler", "args": [], "kwargs": {}}],
        "kwargs": {"per_piece": 2},
    }


def test_a_construction_that_came_back_constructs_the_same() -> None:
    again = there_and_back(partial(resnet18, num_classes=3, norm=group_norm))
    assert (again.func, again.args, again.keywords) == (resnet18, (), {"num_classes": 3, "norm": group_norm})


class Late(Solver):
    """Solver that a user defined."""

    order = 0

    def step(self, f: Any, t0: float, t1: float, state: Any) -> Any:
        del f, t0, t1
        return state


def test_names_of_the_users_own_are_known_where_they_are_given() -> None:
    names = {"Late": Late}
    assert there_and_back(FixedSteps(Late()), names) == FixedSteps(Late())
    with pytest.raises(ValueError, match="unknown name 'Late'"):
        setting_to_json(FixedSteps(Late()))
    with pytest.raises(ValueError, match="unknown name 'Late'"):
        setting_from_expression("FixedSteps(Late())")


class Rounded(Late):
    """Solver whose `repr` rounds its number."""

    def __init__(self, number: float = 0.0) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"Rounded({self.number:g})"


def test_a_setting_that_its_repr_rounds_is_refused() -> None:
    names = {"Rounded": Rounded}
    with pytest.raises(ValueError, match=r"cannot be saved exactly, as .*0\.123457.* makes another value"):
        setting_to_json(Rounded(0.123456789), names)
    with pytest.raises(ValueError, match="cannot be saved exactly"):
        setting_to_json(partial(dict, a=[Rounded(0.123456789)]), {"dict": dict, **names})


def test_tolerances_are_written_in_full() -> None:
    stepping = Adaptive(rtol=0.123456789, atol=1 / 3)
    assert there_and_back(stepping) == stepping


def test_infinity_and_nan_are_refused() -> None:
    for value in (math.inf, math.nan):
        with pytest.raises(ValueError, match="unknown name"):
            setting_to_json(value)


@pytest.mark.parametrize("value", [lambda x: x, test_literals_come_back_exactly, Late])
def test_a_function_without_a_known_name_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"has no name by which it could be found again: .*names=\{'name': it\}"):
        setting_to_json(value)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "().__class__",
        "(lambda: 1)()",
        "[x for x in (1, 2)]",
        "partial(resnet20, **{'num_classes': 3})",
        "{**{}}",
        "resnet20()()",
        "1 if True else 2",
        "a = 1",
        "",
        "f'{Euler}'",
    ],
)
def test_anything_but_literals_names_and_calls_is_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"describes no setting: only literals, names of odenet and torch\.nn, and calls"
    ):
        setting_from_expression(text)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"other": 1},
        {"name": 3},
        {"name": "Euler", "more": 1},
        {"call": "Euler"},
        {"call": "Euler", "args": {}, "kwargs": {}},
        {"call": {"name": "Euler"}, "args": [], "kwargs": {}},
        {"call": "Euler", "args": [], "kwargs": []},
        {"tuple": 3},
        {"dict": {}},
        [{"call": "FixedSteps", "args": [{"x": 1}], "kwargs": {}}],
    ],
)
def test_json_of_another_form_is_refused(data: Any) -> None:
    with pytest.raises(
        ValueError, match=r"describes no setting: only literals, names of odenet and torch\.nn, and calls"
    ):
        setting_from_json(data)


@pytest.mark.parametrize("name", ["eval", "exec", "open", "torch", "__builtins__", "RK5"])
def test_other_names_are_unknown(name: str) -> None:
    with pytest.raises(ValueError, match=f"unknown name '{name}'"):
        setting_from_expression(f"{name}('1')")
    with pytest.raises(ValueError, match=f"unknown name '{name}'"):
        setting_from_json({"call": name, "args": ["1"], "kwargs": {}})


def test_a_midpoint_is_no_euler() -> None:
    assert there_and_back(FixedSteps(Midpoint())) != FixedSteps(Euler())
