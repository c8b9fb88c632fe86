"""Experiments: smoke presets run to a finished record and a figure, and what went wrong is said in a line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from odenet.training import Record

ROOT = Path(__file__).parent.parent
EXPERIMENTS = ["depth_refinement", "solver_swap"]


def run(module: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module", params=EXPERIMENTS)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, str]:
    """An experiment, the folder in which its smoke preset was run, and what it printed."""
    folder = tmp_path_factory.mktemp(request.param)
    outcome = run(f"experiments.{request.param}", "smoke", folder=folder)
    assert outcome.returncode == 0, outcome.stderr
    return request.param, folder, outcome.stdout


def record_of(name: str, folder: Path) -> Path:
    return folder / "runs" / name / "smoke-digits.json"


def test_smoke_ends_with_a_table_and_a_finished_record(finished):
    name, folder, printed = finished
    record = Record.load(record_of(name, folder))
    assert record.finished
    assert record.preset == "smoke"
    assert record.summary["table"]
    assert "record: runs" in printed
    assert name.replace("_", " ") in printed


def test_a_finished_run_is_not_run_again(finished):
    name, folder, _ = finished
    before = record_of(name, folder).read_bytes()
    outcome = run(f"experiments.{name}", "smoke", folder=folder)
    assert outcome.returncode == 0
    assert "is not run again" in outcome.stdout
    assert record_of(name, folder).read_bytes() == before


def test_other_settings_do_not_overwrite_a_record(finished):
    name, folder, _ = finished
    before = record_of(name, folder).read_bytes()
    outcome = run(f"experiments.{name}", "smoke", "--training.lr", "0.05", folder=folder)
    assert outcome.returncode != 0
    assert "lr" in outcome.stderr
    assert "--record" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert record_of(name, folder).read_bytes() == before


def test_an_interrupted_run_goes_on_and_ends_with_the_same_results(finished, tmp_path):
    name, folder, _ = finished
    whole = json.loads(record_of(name, folder).read_text())
    key = list(whole["results"])[-1]
    interrupted = whole | {"finished": False, "summary": {}}
    interrupted["results"] = {k: v for k, v in whole["results"].items() if k != key}
    path = record_of(name, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(interrupted))
    outcome = run(f"experiments.{name}", "smoke", folder=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    again = Record.load(path)
    assert again.finished
    assert untimed(again.results) == untimed(Record.load(record_of(name, folder)).results)


def untimed(value: object) -> object:
    if isinstance(value, dict):
        return {name: untimed(item) for name, item in value.items() if not name.startswith("seconds")}
    return [untimed(item) for item in value] if isinstance(value, list) else value


def test_the_figure_of_a_record_is_the_same_bytes_every_time(finished):
    name, folder, _ = finished
    drawn = []
    for out in ("a", "b"):
        outcome = run(f"paper_figs.{name}", "--record", str(record_of(name, folder)), "--out", out, folder=folder)
        assert outcome.returncode == 0, outcome.stderr
        drawn.append({path.name: path.read_bytes() for path in sorted((folder / out).iterdir())})
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == {f"{name}-smoke-digits.pdf", f"{name}-smoke-digits.png"}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_unknown_preset_is_answered_with_the_known_ones(name, tmp_path):
    outcome = run(f"experiments.{name}", "cpuu", folder=tmp_path)
    assert outcome.returncode != 0
    assert "unknown preset 'cpuu'" in outcome.stderr
    assert "smoke" in outcome.stderr


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_help_shows_the_question_and_the_settings(name, tmp_path):
    assert "?" in run(f"experiments.{name}", "--help", folder=tmp_path).stdout.splitlines()[0]
    assert "--training.lr" in run(f"experiments.{name}", "smoke", "--help", folder=tmp_path).stdout


def test_a_data_set_that_is_absent_is_a_message_and_no_traceback(tmp_path):
    outcome = run("experiments.depth_refinement", "smoke", "--data", "mnistt", folder=tmp_path)
    assert outcome.returncode != 0
    assert "did you mean 'mnist'" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_figure_refuses_a_record_that_is_not_finished(finished, tmp_path):
    name, folder, _ = finished
    path = tmp_path / "record.json"
    path.write_text(json.dumps(json.loads(record_of(name, folder).read_text()) | {"finished": False}))
    outcome = run(f"paper_figs.{name}", "--record", str(path), folder=tmp_path)
    assert outcome.returncode != 0
    assert "not finished" in outcome.stderr
