"""Run the tests of a mark and record their outcomes.

    python -m experiments.support.gpu_tests "gpu and not compiles" FILE

Only the files that have tests marked `gpu` are collected, in this one process.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from odenet.blocks.extras import Extra
from odenet.training import Run
from odenet.training.environment import code

with Extra("test"):
    import pytest

LONGEST = 2000
"""Number of characters that are kept of the report of a failed test, from its end."""


class Outcomes:
    """Pytest plugin that keeps the outcome of each test."""

    def __init__(self) -> None:
        self.of_tests: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the outcome of the call of a test, or of its setup if it was not called."""
        if report.when == "call" or not report.passed:
            outcome = {"outcome": report.outcome, "seconds": round(report.duration, 3)}
            said = {"report": str(report.longrepr)[-LONGEST:]} if report.failed else {}
            self.of_tests[report.nodeid] = outcome | said


def run_tests(mark: str, path: Path, folder: Path = Path(__file__).parents[2] / "tests") -> int:
    """Run the tests of a mark unless the record at `path` is finished; return the number of failed tests.

    Args:
        mark: Expression of marks, as after `pytest -m`.
        path: File of the record.
        folder: Folder of the tests.
    """
    files = [str(file) for file in sorted(folder.glob("test_*.py")) if "mark.gpu" in file.read_text("utf-8")]
    with Run.open("gpu_tests", {"mark": mark, "code": code()}, path) as run:
        if not run.finished:
            outcomes = Outcomes()
            status = pytest.main(["-q", "-p", "no:cacheprovider", "-m", mark, *files], plugins=[outcomes])
            if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
                raise RuntimeError(f"pytest could not run the tests of {mark!r}: it ended with {status!r}; see above.")
            for test, outcome in outcomes.of_tests.items():
                run.once(test, lambda outcome=outcome: outcome)
            run.finish(table=[{"test": test} | outcome for test, outcome in run.record.results.items()])
        return sum(outcome["outcome"] == "failed" for outcome in run.record.results.values())


def main() -> None:
    """Parse the command line, and run the tests."""
    mark, path = sys.argv[1:]
    if failed := run_tests(mark, Path(path)):
        sys.exit(f"{failed} tests of {mark!r} failed: their reports are in {path}.")


if __name__ == "__main__":
    main()
