"""Tests of the command for a GPU: errors are one line before anything runs; a run leaves records, log and facts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import experiments.on_gpu as command
from experiments.support import gpu_machine
from experiments.support.gpu_records import unpacked
from experiments.support.slice_processes import SliceProcess
from experiments.support.slices import Slice
from odenet.training import Record
from tests.test_experiments import run

ROOT = Path(__file__).parents[1]
FACTS = {"device": "cpu", "card": None, "memory_bytes": None, "torch": "2"}

STAND_IN = """
import sys
from pathlib import Path
from odenet.training import Record
name, path = sys.argv[1:]
print(f"{name} computes", flush=True)
if name == "crashes":
    sys.exit("memory ran out")
Record(name, "gpu", {}, finished=True).save(path)
if name == "hangs":
    import time
    time.sleep(600)
"""


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Slice]]:
    """Return a function that replaces the slices of the command by stand-ins, on a machine that is not measured."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(gpu_machine, "measured_facts", lambda device, _: FACTS | {"device": device})

    def take(*names: str, seconds: float = 5.0) -> list[Slice]:
        parts = [
            Slice(name, "experiment", ("stand_in", name, f"made/{name}.json"), seconds, Path("made") / f"{name}.json")
            for name in names
        ]
        monkeypatch.setattr("experiments.support.slices.slices", lambda *_: parts)
        return parts

    # Stand-ins of experiments have no settings that records could be compared with.
    monkeypatch.setattr(Slice, "is_done", lambda self: self.record.exists() and Record.load(self.record).finished)
    return take


def on_gpu(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return run("experiments.on_gpu", *arguments, folder=folder)


def test_slices_leave_records_facts_and_a_log(stand_ins, tmp_path):
    stand_ins("first", "second")
    outcome = on_gpu("--minutes", "5", "--out", "out", "--device", "cpu", folder=tmp_path)
    assert outcome.returncode == 0, outcome.stderr + outcome.stdout
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["log.txt", "machine.json", "records.tar.gz"]
    assert {record.experiment for record in unpacked(tmp_path / "out" / "records.tar.gz").values()} == {
        "first",
        "second",
    }
    machine = json.loads((tmp_path / "out" / "machine.json").read_text())
    assert [(row["slice"], row["how"]) for row in machine["slices"]] == [
        ("experiment first", "finished"),
        ("experiment second", "finished"),
    ]
    assert outcome.stdout.endswith("0 slices are left; the output is in out\n")
    assert "first computes" in (tmp_path / "out" / "log.txt").read_text()
    assert len(re.findall(r"experiment \w+: finished, \d+ s \(5 expected\)|finished, \d+ s", outcome.stdout)) == 2


def test_the_next_call_goes_on_where_the_last_one_ended(stand_ins, tmp_path):
    stand_ins("first")
    assert on_gpu("--out", "out", "--device", "cpu", folder=tmp_path).returncode == 0
    before = Record.load(tmp_path / "made" / "first.json"), (tmp_path / "made" / "first.json").stat().st_mtime_ns
    stand_ins("first", "second")
    outcome = on_gpu("--out", "out", "--device", "cpu", folder=tmp_path)
    assert "first" not in outcome.stdout
    assert before == (
        Record.load(tmp_path / "made" / "first.json"),
        (tmp_path / "made" / "first.json").stat().st_mtime_ns,
    )
    assert len(unpacked(tmp_path / "out" / "records.tar.gz")) == 2, "what is finished on this machine comes home"
    outcome = on_gpu("--out", "out", "--device", "cpu", folder=tmp_path)
    assert "2 of 2 slices have their records; 0 are left" in outcome.stdout


def test_a_crash_and_a_hang_do_not_keep_the_others_from_running(stand_ins, tmp_path):
    stand_ins("crashes", "hangs", "last")
    outcome = on_gpu("--minutes", "5", "--out", "out", "--device", "cpu", folder=tmp_path)
    assert outcome.returncode == 1
    assert "1 of 3 slices failed (experiment crashes); see out" in outcome.stderr
    assert "memory ran out" in outcome.stdout
    machine = json.loads((tmp_path / "out" / "machine.json").read_text())
    assert [row["how"] for row in machine["slices"]] == ["failed", "finished", "finished"]
    assert {r.experiment for r in unpacked(tmp_path / "out" / "records.tar.gz").values()} == {"hangs", "last"}


def test_minutes_below_the_shortest_slice_are_refused_with_how_many_are_enough(stand_ins, tmp_path):
    stand_ins("first", "second", seconds=80.0)
    outcome = on_gpu("--minutes", "1", "--out", "out", "--device", "cpu", folder=tmp_path)
    assert outcome.returncode == 1
    said = outcome.stderr
    assert "--minutes 1 was asked for, but the shortest slice that is left (experiment first, 80 s) needs" in said
    assert float(re.findall(r"needs ([\d.]+)", said)[0]) >= 2
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("minutes", ["0", "-3", "nan", "inf"])
def test_minutes_that_are_none_are_refused(minutes, tmp_path):
    outcome = on_gpu("--minutes", minutes, folder=tmp_path)
    assert f"--minutes must be above 0 and finite, got {minutes}: slices take time" in outcome.stderr


def test_a_machine_without_a_gpu_is_refused_before_anything_runs(stand_ins, tmp_path):
    stand_ins("first")
    outcome = on_gpu("--out", "out", folder=tmp_path)
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("on_gpu: slices for a GPU were to be run, but torch 2 finds no CUDA device here")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"require_packages": "it lacks tyro"}, "it lacks tyro"),
        ({"require_room": "the disk is full"}, "the disk is full"),
        ({"require_data": "the data are not there"}, "the data are not there"),
        ({"require_card": "the card is small"}, "the card is small"),
        ({"unpack": "the data cannot be unpacked"}, "the data cannot be unpacked"),
    ],
)
def test_what_the_check_finds_is_a_sentence_and_nothing_runs(change, said, stand_ins, tmp_path, monkeypatch):
    stand_ins("first")

    def refuse(*_: object) -> None:
        raise gpu_machine.CannotStart(said)

    for name in change:
        monkeypatch.setattr(gpu_machine, name, refuse)
    outcome = on_gpu("--out", "out", "--device", "cpu", folder=tmp_path)
    assert (outcome.returncode, outcome.stderr) == (1, f"on_gpu: {said}\n")
    assert not (tmp_path / "made").exists()


def test_without_git_the_commit_has_to_be_said(stand_ins, tmp_path, monkeypatch):
    stand_ins("first")
    monkeypatch.setattr("odenet.training.environment._git", lambda *_: "")
    monkeypatch.delenv("ODENET_COMMIT", raising=False)
    outcome = on_gpu("--out", "out", "--device", "cpu", folder=tmp_path)
    assert "set ODENET_COMMIT to the output of `git rev-parse HEAD` on the machine" in outcome.stderr
    monkeypatch.setenv("ODENET_COMMIT", "main")
    assert "does not name a commit" in on_gpu("--out", "out", "--device", "cpu", folder=tmp_path).stderr
    assert not (tmp_path / "made").exists()


def test_a_preset_that_no_experiment_has_is_refused(tmp_path):
    outcome = on_gpu("--preset", "gpuu", "--plan", folder=tmp_path)
    assert "--preset gpuu was asked for, but no experiment has it: give gpu, full or smoke" in outcome.stderr


def test_a_record_of_other_settings_is_refused_before_anything_runs(tmp_path):
    from experiments.support.slices import slices
    from tests.test_experiments_slices import finish

    part = next(part for part in slices("smoke", "cpu") if part.work == "degradation")
    finish(tmp_path / "records" / "degradation" / "smoke-digits.json", part, widths=(2, 4, 8))
    outcome = on_gpu("--preset", "smoke", "--device", "cpu", "--out", "out", folder=tmp_path)
    assert outcome.returncode == 1
    assert "the record records/degradation/smoke-digits.json is that of another run (widths[0]" in outcome.stderr
    assert not (tmp_path / "out").exists()


def test_the_plan_names_what_is_left_and_runs_nothing(tmp_path):
    outcome = on_gpu("--plan", folder=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert re.search(r"0 of (\d+) slices have their records; \1 are left:", outcome.stdout)
    assert "   115 s  experiment depth_refinement, seed 0" in outcome.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_collected_is_a_sentence(tmp_path):
    outcome = on_gpu("--collect", "none.tar.gz", folder=tmp_path)
    assert outcome.returncode == 1
    assert "none.tar.gz" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_slices_have_the_environment_that_the_machine_needs(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "wheels")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    asked = command.parse(["--device", "cuda", "--data-root", str(tmp_path)])
    found = command.environment_of(asked)
    assert found["PYTHONPATH"] == f"{ROOT}{os.pathsep}wheels"
    assert found["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert found["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert found["ODENET_DATA"] == str(tmp_path)
    assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?", found["ODENET_COMMIT"])
    assert command.environment_of(command.parse(["--device", "cpu"]))["CUDA_VISIBLE_DEVICES"] == ""


SLOW = """
import os, sys, time
print("slow computes", os.getpid(), flush=True)
time.sleep(600)
"""

STARTED = """
import sys
from pathlib import Path
from experiments import on_gpu
from experiments.support import gpu_machine, slices
gpu_machine.measured_facts = lambda device, _: {"device": device, "card": None}
part = slices.Slice("slow", "experiment", ("slow",), 5.0, Path("made/slow.json"))
slices.slices = lambda *_: [part] if sys.argv else []
slices.Slice.is_done = lambda self: False
on_gpu.main()
"""


def test_ended_by_a_signal_it_ends_its_slices_and_leaves_its_output(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW.replace("print(", "open('pid', 'w').write(str(os.getpid())); print("))
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    arguments = ["--minutes", "5", "--out", "out", "--device", "cpu"]
    process = subprocess.Popen([sys.executable, "-c", STARTED, *arguments], cwd=tmp_path, env=environment)
    until = time.monotonic() + 180
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) != 0
    pid = int((tmp_path / "pid").read_text())
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("the slice goes on")
    assert {"machine.json", "records.tar.gz"} <= {file.name for file in (tmp_path / "out").iterdir()}


def test_a_disk_that_is_full_under_way_is_told_and_the_slices_go_on(stand_ins, tmp_path, monkeypatch):
    from odenet.training.files import CannotWrite

    stand_ins("first", "second")

    def full(*_: Any, **__: Any) -> None:
        raise CannotWrite("the output out/log.txt cannot be written: No space left on device.")

    monkeypatch.setattr("experiments.support.slice_report.write_atomically", full)
    outcome = on_gpu("--out", "out", "--device", "cpu", folder=tmp_path)
    assert outcome.returncode == 0
    assert "No space left on device" in outcome.stdout
    assert len(list((tmp_path / "made").glob("*.json"))) == 2


def test_what_slices_import_first_can_be_imported():
    process = SliceProcess(os.environ | {"PYTHONPATH": str(ROOT)})
    process.begin(["this"])
    until = time.monotonic() + 180
    while not process.ended:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert (process.exit_code, "Zen" in process.output()) == (0, True), process.output()
    process.kill()
