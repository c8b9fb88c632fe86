"""A bad call of a public callable is refused by name, or means what it says.

The short form has one bad value of each kind for each parameter, and some that are drawn; with `ODENET_DRILLS=1` in the
environment, 400 are drawn of each callable.
"""

from __future__ import annotations

import inspect

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.bad_calls import (
    NEEDS_WHAT_IS_NOT_HERE,
    WINGS,
    bad_values,
    call,
    callables,
    examples,
    fault,
    fixed_values,
    parameters,
    right,
    takes_options,
)
from tests.bad_calls_of_methods import (
    METHODS,
    OPTIONS,
    OTHER_OPTIONS,
    RIGHT_OF_METHODS,
    SETTERS,
    UNCHECKED,
    public_methods,
    public_setters,
)

UNHURRIED = [HealthCheck.too_slow, HealthCheck.filter_too_much]

NAMES = [name for name in callables() if parameters(name)]


METHODS_AND_SETTERS = {*public_methods(WINGS)} | {*public_setters(WINGS)}


def test_every_public_method_is_called_with_bad_values_or_left_out_for_a_reason() -> None:
    left_out = {name for name in METHODS_AND_SETTERS if {name, name.rpartition(".")[2]} & UNCHECKED.keys()}
    entries = {name: (name in METHODS) + (name in SETTERS) + (name in left_out) for name in METHODS_AND_SETTERS}
    assert not {name: count for name, count in entries.items() if count != 1}


def test_no_entry_speaks_of_a_method_that_is_not_there() -> None:
    names = {method.rpartition(".")[2] for method in METHODS_AND_SETTERS}
    attributes = {"odenet.ODEBlock.theta", "odenet.ODEBlock.projection"}  # checked by `__setattr__`
    assert METHODS.keys() <= METHODS_AND_SETTERS
    assert SETTERS.keys() - attributes <= METHODS_AND_SETTERS
    assert UNCHECKED.keys() <= METHODS_AND_SETTERS | names
    assert METHODS.keys() == RIGHT_OF_METHODS.keys()


@pytest.mark.parametrize("name", [name for name in callables() if takes_options(name)])
def test_it_is_known_where_options_go(name: str) -> None:
    assert (name in OPTIONS) != (name in OTHER_OPTIONS)
    if name in OPTIONS:
        target, given = OPTIONS[name]
        assert given <= inspect.signature(target).parameters.keys()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NEEDS_WHAT_IS_NOT_HERE])
def test_a_call_with_arguments_that_are_right_is_accepted(name: str) -> None:
    call(name, right(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_value_of_each_kind_is_refused_by_name_for_each_parameter(name: str) -> None:
    tried = [(parameter, kind, value) for parameter in parameters(name) for kind, value in fixed_values(parameter)]
    assert tried
    faults = {(str(parameter), kind): fault(parameter, value) for parameter, kind, value in tried}
    assert not {place: found for place, found in faults.items() if found is not None}


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=examples(), suppress_health_check=UNHURRIED, database=None)
@given(data=st.data())
def test_bad_values_that_are_drawn_are_refused_by_name(name: str, data: st.DataObject) -> None:
    parameter = data.draw(st.sampled_from(parameters(name)), label="parameter")
    value = data.draw(bad_values(parameter), label="value")
    found = fault(parameter, value)
    assert found is None, f"{parameter} = {value!r}: {found}"
