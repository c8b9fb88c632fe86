"""What is printed at the end of the drills is what they counted."""

from __future__ import annotations

from typing import Any

import pytest

from tests.drills.limit import SECONDS, Limit, TookTooLong
from tests.drills.tally import PROPERTY, Tally, collected, table

COUNTED: list[tuple[str, Any]] = [
    (PROPERTY, ("kills", {"tries": 1000, "lost": 1, "torn": 0, "left_over": 2, "unnoticed": 0})),
    (PROPERTY, ("flips", {"tries": 5, "lost": 0, "torn": 0, "left_over": 0, "unnoticed": 3})),
    (PROPERTY, ["kills", {"tries": 2, "lost": 0, "torn": 4, "left_over": 0, "unnoticed": 0}]),  # as xdist sends it
    ("another property", 7),
]
BAD = (Tally(), Tally(3, lost=1), Tally(3, torn=1), Tally(3, left_over=1), Tally(3, unnoticed=1))


def test_the_table_has_a_line_for_each_drill_and_a_sum() -> None:
    lines = [line.split() for line in table(collected(COUNTED))]
    assert lines == [
        ["drill", "tries", "lost", "torn", "left", "over", "unnoticed"],
        ["flips", "5", "0", "0", "0", "3"],
        ["kills", "1,002", "1", "4", "2", "0"],
        ["all", "1,007", "1", "4", "2", "3"],
    ]


@pytest.mark.parametrize("counts", BAD, ids=str)
def test_a_drill_that_tried_nothing_or_found_something_fails(counts: Tally) -> None:
    with pytest.raises(AssertionError):
        counts.require_clean()
    Tally(3).require_clean()


def test_what_does_not_end_is_stopped(limited: Limit, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SECONDS == 20
    monkeypatch.setattr("tests.drills.limit.SECONDS", 0.05)
    with pytest.raises(TookTooLong, match=r"more than 0\.05 s of processor time"), limited():
        go_on_for_ever()


def go_on_for_ever() -> None:
    while True:
        pass
