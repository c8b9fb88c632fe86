"""The observed order of a power law is its exponent; numbers that determine no order are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odenet.measure import observed_order


@given(order=st.floats(0.5, 8), constant=st.floats(1e-3, 1e3))
def test_a_power_law_has_its_exponent_as_order(order, constant):
    steps = [4, 8, 32]
    assert observed_order(steps, [constant * n**-order for n in steps]) == pytest.approx(order, abs=1e-9)


@pytest.mark.parametrize(
    ("steps", "errors"),
    [([4], [0.1]), ([4, 4], [0.1, 0.1]), ([4, 8], [0.1, 0.0]), ([4, 8], [0.1, float("nan")]), ([4, 8], [0.1])],
)
def test_numbers_that_determine_no_slope_are_refused(steps, errors):
    with pytest.raises(ValueError, match="a slope needs"):
        observed_order(steps, errors)
