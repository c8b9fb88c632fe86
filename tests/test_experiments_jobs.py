"""Tests of jobs: points run one after the other or in parallel, and those that die are reported."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from experiments.support import jobs
from experiments.support.jobs import Jobs, Requeued


@dataclass
class Named:
    """Point that does nothing."""

    name: str
    outcome: str | None = None

    def run(self) -> str | None:
        return self.outcome


@dataclass
class Job:
    """Job that is done when it has been polled twice, and dies if its point is called so."""

    executor: Executor
    work: Requeued
    looks: int = 0
    paths: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(stderr="jobs/1_log.err"))

    def done(self) -> bool:
        self.looks += 1
        if self.looks == 2:
            self.executor.running -= 1
        return self.looks >= 2

    def exception(self) -> Exception | None:
        return RuntimeError("Job 1 failed\nKilled") if self.work.point.name == "dies" else None

    def result(self) -> str | None:
        return self.work()

    def cancel(self) -> None:
        self.executor.cancelled.append(self.work.point.name)


class Executor:
    """Executor in place of submitit's, which counts how many jobs run at a time."""

    made: list[Executor]

    def __init__(self, folder: Path, cluster: str | None) -> None:
        self.folder, self.cluster, self.parameters = folder, cluster, {}
        self.running = self.most = 0
        self.cancelled: list[str] = []
        Executor.made.append(self)

    def update_parameters(self, **parameters: Any) -> None:
        self.parameters = parameters

    def submit(self, work: Requeued) -> Job:
        self.running += 1
        self.most = max(self.most, self.running)
        return Job(self, work)


@pytest.fixture
def submitit(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Replace submitit by a stand-in without processes."""
    Executor.made = []
    helpers = SimpleNamespace(DelayedSubmission=lambda work: ("again", work))
    stand_in = SimpleNamespace(AutoExecutor=Executor, helpers=helpers)
    monkeypatch.setitem(sys.modules, "submitit", stand_in)  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr(jobs, "SECONDS_BETWEEN_POLLS", 0.0)
    return stand_in


def outcomes(settings: Jobs, *points: Any) -> list[tuple[str, str | None]]:
    return [(point.name, outcome) for point, outcome in settings.outcomes(points, Path("jobs"))]


def test_one_job_at_a_time_runs_in_this_process_and_needs_no_submitit(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert outcomes(Jobs(), Named("a"), Named("b", "fails")) == [("a", None), ("b", "fails")]


@pytest.mark.parametrize("settings", [Jobs(jobs=2), Jobs(cluster="local"), Jobs(cluster="slurm")])
def test_more_without_submitit_are_refused_with_how_to_install_it(settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    message = rf"jobs={settings.jobs}, cluster={settings.cluster} .* not installed.*pip install 'odenet\[cluster\]'"
    with pytest.raises(ModuleNotFoundError, match=message):
        settings.outcomes([], Path("jobs"))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_never_more_jobs_run_at_a_time_than_were_asked_for(submitit, number):
    names = ["a", "b", "c", "d", "e"]
    found = outcomes(Jobs(jobs=number, cluster="local"), *map(Named, names))
    assert sorted(found) == [(name, None) for name in names]
    assert Executor.made[0].most == number


def test_what_went_wrong_comes_with_the_point_and_for_a_dead_process_with_its_last_words(submitit):
    found = outcomes(Jobs(jobs=3), Named("a"), Named("b", "a: it cannot be"), Named("dies"))
    assert dict(found) == {"a": None, "b": "a: it cannot be", "dies": "Killed (see jobs/1_log.err)"}


def test_a_sweep_that_is_interrupted_cancels_its_jobs(submitit):
    running = Jobs(jobs=2).outcomes([Named(name) for name in ("a", "b", "c")], Path("jobs"))  # pyright: ignore
    next(iter(running))
    running.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert Executor.made[0].cancelled == ["b"]


def test_the_executor_is_told_where_and_with_how_much(submitit):
    outcomes(Jobs(jobs=2, cluster="slurm", hours=1.5, cpus=4, gpus=1, partition="fast"))
    (executor,) = Executor.made
    assert (executor.folder, executor.cluster) == (Path("jobs"), "slurm")
    assert executor.parameters == {
        "name": "odenet",
        "timeout_min": 90,
        "cpus_per_task": 4,
        "gpus_per_node": 1,
        "slurm_partition": "fast",
    }
    outcomes(Jobs(jobs=2))
    assert Executor.made[1].cluster is None
    assert "slurm_partition" not in Executor.made[1].parameters


def test_a_job_that_was_preempted_is_queued_again_as_it_was(submitit):
    work = Requeued(Named("a"))  # pyright: ignore[reportArgumentType]
    assert work.checkpoint() == ("again", work)
    assert work() is None


@pytest.mark.parametrize(
    "bad", [{"jobs": 0}, {"cpus": 0}, {"gpus": -1}, {"hours": 0}, {"hours": float("nan")}, {"hours": float("inf")}]
)
def test_jobs_without_time_or_a_core_are_refused(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=rf"{name}\b.*{bad[name]}"):
        Jobs(**bad)
