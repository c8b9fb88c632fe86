"""Tests of all experiments: smoke presets end with a finished record and a figure, and errors are one line."""

from __future__ import annotations

import io
import os
import runpy
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import import_module
from pathlib import Path

import pytest
import torch

from odenet.models import cifar_resnet
from odenet.training import Record, save_model
from paper_figs.support.command import draw_records, scripts
from tests.training_cases import unfinish

ROOT = Path(__file__).parent.parent
EXPERIMENTS = sorted(
    path.stem for path in (ROOT / "experiments").glob("*.py") if "\nPRESETS" in path.read_text("utf-8")
)
FIGURES = {name: [script for script in scripts() if script.experiment == name] for name in EXPERIMENTS}
ONE = "depth_refinement"
"""Experiment that represents all others in tests of shared code."""
PARTED = {"depth_refinement", "is_it_an_ode", "learning_rates", "solver_swap"}
"""Experiments that can compute parts in parallel (--jobs)."""


def run(module: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `python -m module …` in `folder`, but in this process, which has imported torch already."""
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


def record_of(name: str, folder: Path) -> Path:
    (path,) = (folder / "runs" / name).glob("smoke*.json")
    return path


@dataclass(frozen=True)
class Smoke:
    """A run of an experiment's smoke preset, of which tests change copies."""

    name: str
    folder: Path
    outcome: subprocess.CompletedProcess[str]

    def copied_to(self, folder: Path) -> Path:
        """Copy the folder of the run, and return the record in the copy."""
        assert self.outcome.returncode == 0, self.outcome.stderr
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return record_of(self.name, folder)


@pytest.fixture(scope="module")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Smoke]:
    """Return a function that runs the smoke preset of an experiment, each once."""

    @cache
    def smoke_run(name: str) -> Smoke:
        folder = tmp_path_factory.mktemp(name)
        return Smoke(name, folder, run(f"experiments.{name}", "smoke", folder=folder))

    return smoke_run


@pytest.fixture(scope="module", params=EXPERIMENTS)
def smoke(request: pytest.FixtureRequest, smoke_run: Callable[[str], Smoke]) -> Smoke:
    """Return the run of each experiment's smoke preset."""
    return smoke_run(request.param)


@pytest.fixture(scope="module")
def folder(smoke_run: Callable[[str], Smoke], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the smoke preset of `ONE` was run."""
    folder = tmp_path_factory.mktemp("copy")
    smoke_run(ONE).copied_to(folder)
    return folder


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_presets_and_a_figure(name):
    assert {"smoke", "cpu", "gpu"} <= set(import_module(f"experiments.{name}").PRESETS)
    assert FIGURES[name]


def test_a_smoke_run_ends_with_a_record_and_figures_and_an_interrupted_one_ends_the_same(smoke, tmp_path):
    name, outcome, path = smoke.name, smoke.outcome, smoke.copied_to(tmp_path)
    assert name.replace("_", " ") in outcome.stdout
    assert "record: runs" in outcome.stdout
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
    assert again.made_from == record.made_from

    if checkpoints := {file: file.read_bytes() for file in tmp_path.rglob("checkpoint.pt")}:
        path.unlink()
        outcome = run(f"experiments.{name}", "smoke", folder=tmp_path)
        assert outcome.returncode == 0, outcome.stderr
        read = Record.load(path)
        assert untimed(read.results) == untimed(record.results)
        assert read.made_from == record.made_from
        assert {file: file.read_bytes() for file in checkpoints} == checkpoints, "read back, not trained once more"


def test_a_record_with_all_its_results_but_without_its_checkpoints_is_finished_without_training(smoke, tmp_path):
    name, path = smoke.name, smoke.copied_to(tmp_path)
    record = Record.load(path)
    unfinish(path)
    shutil.rmtree(path.with_name(f"{path.name}.d"), ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("odenet.training.runs.fit", trains_again)
        outcome = run(f"experiments.{name}", "smoke", folder=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    again = Record.load(path)
    assert again.finished
    assert again.results == record.results
    assert again.summary == record.summary
    assert not path.with_name(f"{path.name}.d").exists()


def trains_again(*_: object, **__: object) -> None:
    raise ValueError("a net was trained although the record has every result")


def interrupt(path: Path) -> None:
    """Reset the record to its state before the last result, and move the checkpoints beside it away."""
    unfinish(path, results=dict(list(Record.load(path).results.items())[:-1]))
    if (checkpoints := path.with_name(f"{path.name}.d")).exists():
        checkpoints.rename(path.with_suffix(".old"))


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
    replace(Record.load(path), finished=False).save(unfinished)
    outcome = run(f"paper_figs.{ONE}", "--record", str(unfinished), folder=tmp_path)
    assert outcome.returncode != 0
    assert "not finished" in outcome.stderr


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_only_an_experiment_of_parts_takes_jobs(name):
    assert ("parted=True" in (ROOT / "experiments" / f"{name}.py").read_text("utf-8")) == (name in PARTED)


def test_jobs_that_cannot_be_are_a_message_and_no_traceback(folder):
    outcome = run(f"experiments.{ONE}", "smoke", "--jobs", "0", folder=folder)
    assert outcome.returncode != 0
    assert "jobs must be ≥ 1 or auto, got 0" in outcome.stderr
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


# Whose result it is


@pytest.mark.parametrize(
    ("name", "change", "difference"),
    [
        (ONE, ["--no-augment"], "context.augment: asked for False, found True; made_from.training batches"),
        ("segmentation", ["--objects", "5", "6"], "context.objects[0]: asked for 5, found 1"),
    ],
)
def test_nets_of_a_deleted_record_are_not_taken_for_those_of_other_settings(
    name, change, difference, smoke_run, tmp_path
):
    path = smoke_run(name).copied_to(tmp_path)
    outcome = run(f"experiments.{name}", "smoke", *change, folder=tmp_path)
    assert "is that of another run" in outcome.stderr
    assert f"delete it and {path.name}.d beside it" in outcome.stderr

    path.unlink()
    outcome = run(f"experiments.{name}", "smoke", *change, folder=tmp_path)
    assert outcome.returncode != 0
    assert difference in outcome.stderr
    assert f"All checkpoints of this record are in {Path('runs') / name / path.name}.d" in outcome.stderr
    kept = Record.load(path).results if path.exists() else {}
    assert not any(key.startswith("seed") for key in kept)
    path.unlink(missing_ok=True)

    shutil.rmtree(path.with_name(f"{path.name}.d"))
    assert run(f"experiments.{name}", "smoke", *change, folder=tmp_path).returncode == 0
    assert Record.load(path).finished


def test_of_two_runs_started_at_once_on_a_record_the_second_is_told_who_was_first(tmp_path):
    command = [sys.executable, "-m", f"experiments.{ONE}", "smoke", "--record", "record.json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([*command, *change], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        for change in ([], ["--no-augment"])
    ]
    said = [process.communicate(timeout=300)[1] for process in processes]
    codes = [process.returncode for process in processes]
    record = Record.load(tmp_path / "record.json")
    assert record.finished
    assert sorted(codes) == [0, 1], said
    assert record.settings["augment"] == (codes[0] == 0), "the record is that of the run which ended well"
    other = said[codes.index(1)]
    # The second may come when the first has ended: then it finds the record of another run.
    assert f"is in use: process {processes[codes.index(0)].pid} on" in other or "is that of another run" in other


def test_a_net_trained_again_at_the_same_path_does_not_get_the_answers_of_the_former(tmp_path):
    def ask() -> subprocess.CompletedProcess[str]:
        arguments = ["smoke", "--checkpoint", "net.safetensors", "--record", "answers.json"]
        return run("experiments.is_it_an_ode", *arguments, folder=tmp_path)

    save_net(tmp_path, seed=0)
    assert ask().returncode == 0
    assert "is not run again" in ask().stdout
    save_net(tmp_path, seed=1)
    outcome = ask()
    assert outcome.returncode != 0
    assert "the file of the setting checkpoint has other content" in outcome.stderr


def save_net(folder: Path, seed: int) -> None:
    make = partial(cifar_resnet, 2, 10, 1, widths=(4,), activation="pre")
    torch.manual_seed(seed)
    save_model(make().eval(), folder / "net.safetensors", make)
