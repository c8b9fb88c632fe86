"""Memory of a U-Net grows with the steps under backpropagation, and not under `Reversible` (in the quick form)."""

from __future__ import annotations

import pytest

from benchmarks.command import take
from benchmarks.unet_memory import GOALS, QUICK, measure, row
from odenet import Checkpointed
from odenet.training import Record


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """The record of the quick form."""
    return take("unet_memory", QUICK, measure, tmp_path_factory.mktemp("memory") / "record.json")


def peaks(record: Record, method: str) -> list[int]:
    """Return the peak memory of a method for each number of steps in the settings."""
    return [record.results[f"{method}, {steps} steps"]["peak_bytes"] for steps in QUICK.steps]


def test_backprop_needs_memory_for_every_step(record):
    one, four, sixteen = peaks(record, "Backprop()")
    assert (sixteen - four) / (four - one) == pytest.approx(4, rel=0.1)


def test_reversible_needs_no_more_for_many_steps_than_for_one(record):
    assert max(peaks(record, "Reversible()")) <= 1.1 * min(peaks(record, "Reversible()"))


def test_checkpointed_needs_less_than_backprop_as_soon_as_there_are_several_steps(record):
    pairs = zip(peaks(record, "Checkpointed()"), peaks(record, "Backprop()"), strict=True)
    assert all(ours <= backprop for ours, backprop in pairs)
    assert peaks(record, "Checkpointed()")[-1] < 0.5 * peaks(record, "Backprop()")[-1]


def test_the_table_has_a_row_for_each_gradient_method(record):
    table = record.summary["table"]
    assert [one["goal"] for one in table] == list(GOALS.values())
    assert [f"{peaks(record, str(m))[-1] / peaks(record, str(m))[0]:.2f}" for m in GOALS] == [
        one["measured"] for one in table
    ]


def test_a_row_says_how_memory_grows_and_what_a_step_takes():
    found = [
        {"peak_bytes": 2e6, "seconds": 0.5},
        {"peak_bytes": 3e6, "seconds": 1.0},
        {"peak_bytes": 5e9, "seconds": 4},
    ]
    made = row(QUICK, Checkpointed(), "≤ 4", found)
    assert made["measured"] == "2500.00"
    assert made["beside it"] == "2, 3, 5,000 MB and 0.5, 1, 4 s at 1, 4, 16 steps"
    assert "Checkpointed(): peak memory of a training step at 16 steps a flow over that at 1" in made["quantity"]
    assert "one image of 64×64, widths 2, 4" in made["quantity"]
