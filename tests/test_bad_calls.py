"""A bad call of a public callable is refused by name, or means what it says.

The short form has one bad value of each kind for each parameter, and some that are drawn; with `ODENET_DRILLS=1` in the
environment, 400 are drawn of each callable.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.bad_calls import (
    NEEDS_WHAT_IS_NOT_HERE,
    RIGHT,
    bad_values,
    call,
    callables,
    examples,
    fault,
    fixed_values,
    parameters,
)

UNHURRIED = [HealthCheck.too_slow, HealthCheck.filter_too_much]

NAMES = [name for name in callables() if parameters(name)]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NEEDS_WHAT_IS_NOT_HERE])
def test_a_call_with_arguments_that_are_right_is_accepted(name: str) -> None:
    call(name, RIGHT.get(name, dict)())


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
