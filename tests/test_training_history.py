"""A history gives its rows, columns and times as numbers."""

from __future__ import annotations

import json

from odenet.training import History
from odenet.training.json_data import from_json_data, to_json_data

HISTORY = History(
    "accuracy",
    [
        {"epoch": 1, "test_accuracy": 0.5, "test_loss": float("nan"), "seconds": 90.0},
        {"epoch": 2, "test_accuracy": 0.7, "test_loss": 1.0, "seconds": 2.0},
        {"epoch": 3, "test_accuracy": 0.6, "test_loss": 0.5, "seconds": 3.0},
    ],
)


def test_the_last_row_is_that_of_the_last_epoch() -> None:
    assert HISTORY.last == HISTORY.rows[2]


def test_a_column_has_a_value_an_epoch() -> None:
    assert HISTORY.column("test_accuracy") == [0.5, 0.7, 0.6]


def test_seconds_per_epoch_are_those_of_the_middle_one_so_that_compiling_does_not_count() -> None:
    assert HISTORY.seconds_per_epoch == 3.0


def test_a_history_comes_back_from_json() -> None:
    assert repr(History(**from_json_data(json.loads(json.dumps(to_json_data(HISTORY)))))) == repr(HISTORY)
