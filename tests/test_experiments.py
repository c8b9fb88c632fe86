"""Experiments: smoke presets run to a finished record and a figure, and what went wrong is said in a line."""

from __future__ import annotations

import io
import json
import os
import runpy
import subprocess
import sys
import warnings
from contextlib import chdir, redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path

import pytest
import torch

from odenet.training import Record
from paper_figs.command import draw_records, scripts

ROOT = Path(__file__).parent.parent
EXPERIMENTS = sorted(
    path.stem for path in (ROOT / "experiments").glob("*.py") if "\nPRESETS" in path.read_text("utf-8")
)
FIGURES = {name: [script for script in scripts() if script.experiment == name] for name in EXPERIMENTS}
ONE = "depth_refinement"
"""The experiment that stands for all where they share the code."""
PARTED = {"depth_refinement"}
"""Those that compute parts side by side if they are asked to."""


def run(module: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What `python -m module …` does in `folder`, but in this process, which has imported torch already."""
    threads, printed, said = torch.get_num_threads(), io.StringIO(), io.StringIO()
    command = [module, *arguments]
    with (
        chdir(folder),
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
        redirect_stdout(printed),
        redirect_stderr(said),
    ):
        warnings.filterwarnings("ignore", message=f".*{module}", category=RuntimeWarning)  # imported before
        patch.setattr(sys, "argv", command)
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            print(end.code if isinstance(end.code, str) else "", file=sys.stderr)
        finally:
            torch.set_num_threads(threads)
    return subprocess.CompletedProcess(command, code, printed.getvalue(), said.getvalue())


def run_afresh(module: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def record_of(name: str, folder: Path) -> Path:
    (path,) = (folder / "runs" / name).glob("smoke*.json")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the smoke preset of `ONE` was run."""
    folder = tmp_path_factory.mktemp(ONE)
    outcome = run_afresh(f"experiments.{ONE}", "smoke", folder=folder)
    assert outcome.returncode == 0, outcome.stderr
    return folder


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_presets_and_a_figure(name):
    assert {"smoke", "cpu", "gpu"} <= set(import_module(f"experiments.{name}").PRESETS)
    assert FIGURES[name]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_smoke_run_ends_with_a_record_and_figures_and_an_interrupted_one_ends_the_same(name, tmp_path):
    outcome = run(f"experiments.{name}", "smoke", folder=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert name.replace("_", " ") in outcome.stdout
    assert "record: runs" in outcome.stdout
    path = record_of(name, tmp_path)
    record = Record.load(path)
    assert record.finished
    assert record.preset == "smoke"
    assert record.summary["table"]
    for figure in FIGURES[name]:
        draw_records(figure.name, figure.draw, [path], tmp_path / "drawn", name)
    drawn = {file.name for file in (tmp_path / "drawn").iterdir()}
    assert drawn == {f"{f.name}-{path.stem}.{ending}" for f in FIGURES[name] for ending in ("pdf", "png")}

    interrupt(path)
    outcome = run(f"experiments.{name}", "smoke", *(["--jobs", "2"] if name in PARTED else []), folder=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    again = Record.load(path)
    assert again.finished
    assert list(again.results) == list(record.results)
    assert untimed(again.results) == untimed(record.results)


def interrupt(path: Path) -> None:
    """Make the record what it was before its last result, without the checkpoints beside it."""
    whole = json.loads(path.read_text())
    kept = dict(list(whole["results"].items())[:-1])
    if (checkpoints := path.with_suffix(".d")).exists():
        checkpoints.rename(path.with_suffix(".old"))
    path.write_text(json.dumps(whole | {"finished": False, "summary": {}, "results": kept}))


def untimed(value: object) -> object:
    if isinstance(value, dict):
        return {name: untimed(item) for name, item in value.items() if not name.startswith("seconds")}
    return [untimed(item) for item in value] if isinstance(value, list) else value


def test_a_finished_run_is_not_run_again(folder):
    before = record_of(ONE, folder).read_bytes()
    outcome = run(f"experiments.{ONE}", "smoke", folder=folder)
    assert outcome.returncode == 0
    assert "is not run again" in outcome.stdout
    assert record_of(ONE, folder).read_bytes() == before


def test_of_several_processes_one_prints(folder, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    outcome = run(f"experiments.{ONE}", "smoke", folder=folder)
    assert (outcome.returncode, outcome.stdout) == (0, "")


def test_other_settings_do_not_overwrite_a_record(folder):
    before = record_of(ONE, folder).read_bytes()
    outcome = run(f"experiments.{ONE}", "smoke", "--training.lr", "0.05", folder=folder)
    assert outcome.returncode != 0
    assert "lr" in outcome.stderr
    assert "--record" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert record_of(ONE, folder).read_bytes() == before


def test_a_figure_is_drawn_by_its_command_and_refuses_a_record_that_is_not_finished(folder, tmp_path):
    path = record_of(ONE, folder)
    outcome = run(f"paper_figs.{ONE}", "--record", str(path), "--out", str(tmp_path), folder=folder)
    assert outcome.returncode == 0, outcome.stderr
    assert f"figure: {tmp_path / f'{ONE}-smoke-digits.pdf'}" in outcome.stdout
    assert run(f"paper_figs.{ONE}", "--record", str(path), folder=folder).returncode == 0
    assert path.with_name(f"{ONE}-smoke-digits.png").exists(), "by default beside the record"
    unfinished = tmp_path / "record.json"
    unfinished.write_text(json.dumps(json.loads(path.read_text()) | {"finished": False}))
    outcome = run(f"paper_figs.{ONE}", "--record", str(unfinished), folder=tmp_path)
    assert outcome.returncode != 0
    assert "not finished" in outcome.stderr


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_only_an_experiment_of_parts_takes_jobs(name):
    assert ("parted=True" in (ROOT / "experiments" / f"{name}.py").read_text("utf-8")) == (name in PARTED)


def test_jobs_that_cannot_be_are_a_message_and_no_traceback(folder):
    outcome = run(f"experiments.{ONE}", "smoke", "--jobs", "0", folder=folder)
    assert outcome.returncode != 0
    assert "jobs=0 cannot be" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_an_unknown_preset_is_answered_with_the_known_ones(tmp_path):
    outcome = run(f"experiments.{ONE}", "cpuu", folder=tmp_path)
    assert outcome.returncode != 0
    assert "unknown preset 'cpuu'" in outcome.stderr
    assert "smoke" in outcome.stderr


def test_help_shows_the_question_and_the_settings(tmp_path):
    assert "?" in run(f"experiments.{ONE}", "--help", folder=tmp_path).stdout.splitlines()[0]
    shown = run(f"experiments.{ONE}", "smoke", "--help", folder=tmp_path).stdout
    assert "--training.lr" in shown
    assert "--data-root" in shown


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_opens_with_its_question(name):
    opening = (import_module(f"experiments.{name}").__doc__ or "").splitlines()[0]
    assert "?" in opening


def test_a_data_set_that_is_absent_is_a_message_and_no_traceback(tmp_path):
    outcome = run(f"experiments.{ONE}", "smoke", "--data", "mnistt", folder=tmp_path)
    assert outcome.returncode != 0
    assert "did you mean 'mnist'" in outcome.stderr
    assert "Traceback" not in outcome.stderr
