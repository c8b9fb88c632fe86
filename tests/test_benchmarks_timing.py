"""Timing: every contestant runs as often, in both orders, and ratios are taken round by round."""

from __future__ import annotations

from itertools import pairwise

import pytest

from benchmarks.timing import interleaved, ratio


def test_contestants_run_equally_often_and_take_turns_in_going_first():
    order: list[str] = []
    seconds = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repetitions=4)
    assert {name: len(times) for name, times in seconds.items()} == {"a": 4, "b": 4}
    firsts = order[::2]
    assert set(firsts) == {"a", "b"}
    assert all(one != other for one, other in pairwise(firsts))


def test_the_ratio_is_the_median_of_ratios_within_rounds():
    # A machine that is ten times slower in the last round changes nothing.
    seconds = {"a": [2.0, 2.2, 20.0], "b": [1.0, 1.0, 10.0]}
    assert ratio(seconds, "a", "b") == pytest.approx(2.0)
