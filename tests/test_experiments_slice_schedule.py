"""Tests of the schedule of slices, with stand-ins for clock and processes: order, estimates, hangs, deadline."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.support.slice_schedule import GRACE, KILL_AFTER, RESERVE, SLACK, TERMINATE, Outcome, Schedule
from experiments.support.slices import Slice
from tests.slice_cases import Act, FakeClock, FakeProcess, fake_slice, processes, record_of

FAST = Act(records=10.0, ends=10.5)


class Trial:
    """Schedule of stand-ins."""

    def __init__(self, slices: list[Slice], acts: dict[str, Act], seconds: float) -> None:
        self.clock, self.reports = FakeClock(), list[list[str]]()
        start, self.started = processes(self.clock, acts, slices)
        self.begun = self.clock.now()
        self.deadline = self.begun + seconds
        self.schedule = Schedule(slices, start, self.deadline, self.clock, self.note)

    def note(self, outcomes: list[Outcome]) -> None:
        self.reports.append([outcome.slice.work for outcome in outcomes])

    def run(self) -> dict[str, str]:
        """Return the outcome of each slice that began, in their order."""
        return {outcome.slice.work: outcome.how for outcome in self.schedule.run()}

    def process_of(self, work: str) -> FakeProcess:
        return next(process for process in self.started if process.work == work)


def names(folder: Path, *works: str, seconds: float = 10.0) -> list[Slice]:
    return [fake_slice(folder, work, seconds) for work in works]


def test_slices_run_in_the_order_of_their_value_and_are_reported_after_each(tmp_path):
    trial = Trial(names(tmp_path, "c", "a", "b"), dict.fromkeys("abc", FAST), 200)
    assert list(trial.run().items()) == [("c", "finished"), ("a", "finished"), ("b", "finished")]
    assert trial.reports == [["c"], ["c", "a"], ["c", "a", "b"]]


def test_while_a_slice_runs_the_next_process_is_started_and_every_one_is_killed_in_the_end(tmp_path):
    trial = Trial(names(tmp_path, "a", "b"), dict.fromkeys("ab", FAST), 200)
    seen = []
    trial.schedule._report = lambda _: seen.append(len(trial.started))
    trial.run()
    assert seen == [2, 3], "one runs and one waits"
    assert all(process.done[-1] == "killed" for process in trial.started)
    assert [process.work for process in trial.started] == ["a", "b", ""]


def test_a_slice_that_does_not_fit_is_passed_over_for_one_that_does(tmp_path):
    slices = [fake_slice(tmp_path, "long", 100.0), fake_slice(tmp_path, "short", 10.0)]
    left = SLACK * 100 + RESERVE - 1
    trial = Trial(slices, {"long": Act(100.0, 100.0), "short": FAST}, left)
    assert trial.run() == {"short": "finished"}
    assert Trial(slices[:1], {"long": Act(100.0, 100.0)}, left + 1).schedule.next() == slices[0]


def test_where_nothing_fits_nothing_is_begun(tmp_path):
    trial = Trial(names(tmp_path, "a"), {"a": FAST}, SLACK * 10 + RESERVE - 1)
    assert trial.run() == {}
    assert not any("begun" in process.done for process in trial.started)
    assert trial.reports == []


def test_estimates_are_scaled_by_what_was_measured_of_slices_of_the_same_kind(tmp_path):
    slices = names(tmp_path, "a", "b")
    other = fake_slice(tmp_path, "networks", 10.0, "benchmark")
    trial = Trial([slices[0]], {"a": Act(30.0, 30.0)}, 200)
    trial.run()
    assert trial.schedule.expected(slices[1]) == pytest.approx(30.0, abs=0.5), "three times as long as expected"
    assert trial.schedule.expected(other) == 10.0


def test_of_the_same_work_the_longest_time_until_now_is_expected(tmp_path):
    slices = names(tmp_path, "a", "b")
    trial = Trial(slices, {"a": Act(12.0, 12.0), "b": Act(40.0, 40.0)}, 400)
    trial.run()
    again = Slice("a", "experiment", ("a",), 10.0, tmp_path / "seed1.json")
    assert trial.schedule.expected(again) == pytest.approx(12.0, abs=0.5)


def test_what_failed_says_nothing_of_how_long_others_take(tmp_path):
    slices = names(tmp_path, "crash", "a")
    trial = Trial(slices, {"crash": Act(ends=0.5), "a": FAST}, 200)
    assert trial.run() == {"crash": "failed", "a": "finished"}
    assert trial.schedule.outcomes[1].expected == 10.0


def test_a_crash_in_the_middle_is_told_with_its_output_and_the_next_slice_begins(tmp_path):
    slices = names(tmp_path, "crash", "a")
    record_of(slices[0], finished=False)
    trial = Trial(slices, {"crash": Act(ends=3.0), "a": FAST}, 200)
    trial.run()
    crash, after = trial.schedule.outcomes
    assert (crash.how, crash.exit_code, crash.output) == ("failed", 1, "crash says so")
    assert crash.seconds == pytest.approx(3.0, abs=0.3)
    assert after.how == "finished"
    assert trial.process_of("crash").done == ["begun", "killed"], "what it has started ends with it"


def test_a_slice_that_hangs_at_its_exit_is_finished_and_killed_after_its_grace(tmp_path):
    trial = Trial(names(tmp_path, "hangs", "a"), {"hangs": Act(records=8.0), "a": FAST}, 200)
    assert trial.run() == {"hangs": "finished", "a": "finished"}
    outcome = trial.schedule.outcomes[0]
    assert outcome.exit_code is None
    assert outcome.seconds == pytest.approx(8.0, abs=0.3), "the time until its record counts"
    assert trial.process_of("a").began - trial.begun == pytest.approx(8.0 + GRACE, abs=0.5)
    assert trial.process_of("hangs").done == ["begun", "killed"]


def test_at_the_deadline_a_slice_is_asked_to_end_and_then_killed(tmp_path):
    trial = Trial(names(tmp_path, "slow"), {"slow": Act(heeds_sigterm=False)}, 100)
    assert trial.run() == {"slow": "interrupted"}
    process = trial.process_of("slow")
    assert process.done == ["begun", "terminated", "killed"]
    assert process.terminated == pytest.approx(trial.deadline - TERMINATE, abs=0.3)
    assert trial.clock.now() == pytest.approx(trial.deadline - TERMINATE + KILL_AFTER, abs=0.3)


def test_a_slice_that_ends_when_it_is_asked_to_is_not_waited_for(tmp_path):
    trial = Trial(names(tmp_path, "slow"), {"slow": Act()}, 100)
    assert trial.run() == {"slow": "interrupted"}
    assert trial.clock.now() == pytest.approx(trial.deadline - TERMINATE, abs=0.3)


def test_a_record_that_is_finished_while_the_slice_is_ended_counts(tmp_path):
    end = 100 - TERMINATE + 2
    trial = Trial(names(tmp_path, "late"), {"late": Act(records=end, ends=end, heeds_sigterm=False)}, 100)
    assert trial.run() == {"late": "finished"}


def test_after_an_interruption_nothing_is_begun_any_more(tmp_path):
    trial = Trial(names(tmp_path, "slow", "a"), {"slow": Act(), "a": FAST}, 100)
    assert trial.run() == {"slow": "interrupted"}


def test_processes_are_killed_where_the_report_fails(tmp_path):
    trial = Trial(names(tmp_path, "a", "b"), dict.fromkeys("ab", FAST), 200)

    def fails(_: list[Outcome]) -> None:
        raise KeyboardInterrupt

    trial.schedule._report = fails
    with pytest.raises(KeyboardInterrupt):
        trial.run()
    assert all(process.done[-1] == "killed" for process in trial.started)
