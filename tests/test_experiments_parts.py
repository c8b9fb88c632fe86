"""Tests of parts of a run: the record has the results in the order of the parts for any number of jobs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from experiments.support import parts
from experiments.support.parts import PartedRun, number_of_jobs
from experiments.support.workers import Task
from odenet.training import Record, Run

NAMES = ("a", "b", "c")


def part(name: str, run: Run) -> None:
    """Compute two results, the second from the first, and count on the disk how often each is computed."""

    def computed(number: int) -> dict[str, int]:
        with run.path.with_name(f"{name}{number}").open("a") as file:
            file.write(f"{os.getpid()}\n")
        return {"number": number}

    first = run.once(f"{name}/0", lambda: computed(0))
    run.once(f"{name}/1", lambda: computed(first["number"] + 1))


def opened(folder: Path, jobs: int) -> PartedRun:
    run = PartedRun.open("parts", {}, folder / "record.json")
    assert isinstance(run, PartedRun)
    run.jobs = jobs
    return run


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_was_interrupted_computes_what_is_left_and_has_it_in_the_order_of_the_parts(jobs, tmp_path):
    run = opened(tmp_path, 1)
    run.once("before", dict)
    run.once("c/0", lambda: {"number": 0})
    run = opened(tmp_path, jobs)
    run.each([partial(part, name) for name in NAMES])
    run.finish()
    record = Record.load(tmp_path / "record.json")
    assert list(record.results.items()) == [
        ("before", {}),
        *((f"{name}/{number}", {"number": number}) for name in NAMES for number in (0, 1)),
    ]
    computed = {file.name: file.read_text().splitlines() for file in tmp_path.glob("?[01]")}
    assert sorted(computed) == ["a0", "a1", "b0", "b1", "c1"]
    assert all(len(processes) == 1 for processes in computed.values())
    here = {str(os.getpid())}
    assert all((set(processes) == here) == (jobs == 1) for processes in computed.values())


def test_results_are_in_the_record_as_soon_as_they_are_sent(tmp_path, monkeypatch):
    seen = []

    def run_tasks(tasks: Sequence[Task], jobs: int) -> Iterator[tuple[int, Any]]:
        yield 1, ("b/0", {"number": 0})
        seen.append(list(Record.load(tmp_path / "record.json").results))
        yield from ((0, []), (1, ["b/0"]))

    monkeypatch.setattr(parts, "run_tasks", run_tasks)
    opened(tmp_path, 2).each([partial(part, name) for name in ("a", "b")])
    assert seen == [["b/0"]]


def test_auto_fills_the_cores_and_a_number_is_taken_as_it_is(monkeypatch):
    monkeypatch.setattr(parts, "_cores", lambda: 6)
    assert [number_of_jobs("auto", threads) for threads in (None, 1, 2, 4, 12)] == [6, 6, 3, 1, 1]
    assert number_of_jobs(3, 6) == 3


def test_no_jobs_are_refused():
    with pytest.raises(ValueError, match=r"jobs must be ≥ 1 or auto, got 0"):
        number_of_jobs(0, None)


@pytest.mark.parametrize("jobs", [2, "auto"])
def test_jobs_under_torchrun_are_refused(jobs, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with pytest.raises(ValueError, match=rf"jobs={jobs} was asked for under torchrun, .* leave jobs at 1"):
        number_of_jobs(jobs, 1)
    assert number_of_jobs(1, 1) == 1
