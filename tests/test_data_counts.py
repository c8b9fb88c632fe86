"""Whole numbers within their bounds are accepted, and everything else is refused with the bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from odenet.data.counts import whole_number


@pytest.mark.parametrize("value", [7, np.int64(7), torch.tensor(7)])
def test_what_numpy_and_torch_call_a_whole_number_is_one(value: Any) -> None:
    assert type(whole_number("n", value, 1, 7, because="")) is int


@pytest.mark.parametrize("value", [2.0, "2", None, True, torch.tensor(2.0)])
def test_what_is_not_a_whole_number_is_refused_even_if_its_value_is_whole(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^n must be a whole number of at least 1, got .*: it counts\.$"):
        whole_number("n", value, 1, because="it counts")


@pytest.mark.parametrize("value", [0, 4, -1])
def test_a_number_outside_the_bounds_is_refused_with_the_bounds(value: int) -> None:
    with pytest.raises(ValueError, match=rf"^n must be a whole number from 1 to 3, got {value}: it counts\.$"):
        whole_number("n", value, 1, 3, because="it counts")
