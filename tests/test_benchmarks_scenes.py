"""The benchmark of scenes measures time of one core, and its committed record reaches the goal."""

from __future__ import annotations

from benchmarks.scenes import GOAL, REPETITIONS, SCENES, measured
from odenet.training import Record
from tests.test_repository import ROOT


def test_every_repetition_takes_time_of_the_core() -> None:
    spent = measured(4)["seconds"]
    assert len(spent) == REPETITIONS
    assert min(spent) > 0


def test_the_record_reaches_the_goal() -> None:
    record = Record.load(ROOT / "records/benchmarks/scenes-cpu.json")
    spent = sorted(record.results["64×64"]["seconds"])
    assert SCENES / spent[len(spent) // 2] >= GOAL
