"""Tests of the GPU tests' runner: it records the outcome of each test, also of failed ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from odenet.training import Record

ROOT = Path(__file__).parents[1]

SCRIPT = """
import sys
from pathlib import Path
from experiments.support.gpu_tests import run_tests
for _ in range(int(sys.argv[2])):
    failed = run_tests(sys.argv[1], Path("record.json"), Path("tests"))
    print("failed:", failed, "written:", Path("record.json").stat().st_mtime_ns)
"""

TESTS = """
import pytest

@pytest.mark.gpu
def test_passes(): pass

@pytest.mark.gpu
def test_fails(): assert 1 == 2, "one is not two"

@pytest.mark.gpu
@pytest.mark.skip(reason="no card")
def test_is_skipped(): pass

@pytest.mark.gpu
@pytest.mark.compiles
def test_compiles(): pass

def test_of_no_gpu(): pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_some.py").write_text(TESTS)
    (tmp_path / "tests" / "test_none.py").write_text("raise ImportError('it is not collected')")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    gpu: a\n    compiles: b\n")
    return tmp_path


def run_in(folder: Path, mark: str, times: int = 1) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, mark, str(times)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_record_has_what_became_of_every_test_of_the_mark_and_is_not_made_again(folder):
    ran = run_in(folder, "gpu and not compiles", times=2)
    first, second = (line for line in ran.stdout.splitlines() if line.startswith("failed:"))
    assert first.startswith("failed: 1"), ran.stdout + ran.stderr
    assert second == first
    record = Record.load(folder / "record.json")
    assert record.finished
    outcomes = {key.rpartition("::")[2]: result["outcome"] for key, result in record.results.items()}
    assert outcomes == {"test_passes": "passed", "test_fails": "failed", "test_is_skipped": "skipped"}
    (failed,) = [result for result in record.results.values() if result["outcome"] == "failed"]
    assert "one is not two" in failed["report"]
    assert {row["outcome"] for row in record.summary["table"]} == {"passed", "failed", "skipped"}


def test_tests_that_cannot_be_collected_leave_no_finished_record(folder):
    (folder / "tests" / "test_some.py").write_text("import there_is_no_such_module  # mark.gpu")
    ran = run_in(folder, "gpu")
    assert ran.returncode != 0
    assert "pytest could not run the tests of 'gpu'" in ran.stderr
    assert not Record.load(folder / "record.json").finished
