"""The Makefile in a folder of its own: what it says, and what it would run (`make -n`) with which interpreter."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TARGETS = ("demo", "test", "drills", "figures", "gpu", "lint", "benchmark", "clean")
ENVIRONMENTS = {
    "demo": "run",
    "figures": "run",
    "test": "test",
    "drills": "test",
    "gpu": "test",
    "benchmark": "test",
    "lint": "dev",
}

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clone as far as make can see: nothing built."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def interpreter(folder: Path, answers: dict[str, str]) -> str:
    """The name of a stand-in for Python: a shell script that answers where its arguments contain one of the keys."""
    script = folder / "python-stand-in"
    cases = "\n".join(f'  *"{key}"*) {command} ;;' for key, command in answers.items())
    script.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}\n  *) exit 0 ;;\nesac\n')
    script.chmod(0o755)
    return f"./{script.name}"


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # The variables and options of the `make test` that runs this are not meant for this make.
    environment = {
        name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}
    }
    command = ["make", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_make_alone_prints_every_target_and_builds_nothing(folder: Path) -> None:
    listed = make(folder)
    assert listed.returncode == 0
    assert set(re.findall(r"^make (\w+) ", listed.stdout, re.MULTILINE)) == {"help", *TARGETS}
    assert not (folder / ".venv").exists()


@pytest.mark.parametrize(("target", "environment"), ENVIRONMENTS.items())
def test_a_target_makes_the_environment_that_it_needs_and_no_other(folder: Path, target: str, environment: str) -> None:
    lacking = interpreter(folder, {"find_spec": "echo odenet torch"})
    planned = make(folder, "-n", target, f"PYTHON={lacking}").stdout
    assert f"{lacking} -m venv .venv" in planned
    assert set(re.findall(r"touch \.venv/installed-(\w+)", planned)) == {environment}
    assert "pip install -c constraints.txt -e" in planned


def test_make_demo_installs_neither_test_tools_nor_linters(folder: Path) -> None:
    planned = make(folder, "-n", "demo", f"PYTHON={interpreter(folder, {'find_spec': 'echo odenet'})}").stdout
    assert "-e '.[experiments,figures]'" in planned


def stamp(folder: Path, environment: str) -> None:
    (folder / ".venv").mkdir()
    (folder / ".venv" / "created").touch()
    (folder / ".venv" / f"installed-{environment}").touch()


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_an_environment_is_made_again_only_when_what_it_is_made_from_has_changed(folder: Path, changed: str) -> None:
    lacking = interpreter(folder, {"find_spec": "echo odenet"})
    stamp(folder, "test")
    assert "pip install" not in make(folder, "-n", "test", f"PYTHON={lacking}").stdout
    later = (folder / ".venv" / "installed-test").stat().st_mtime + 10
    os.utime(folder / changed, (later, later))
    assert "pip install" in make(folder, "-n", "test", f"PYTHON={lacking}").stdout


@pytest.mark.parametrize("target", ENVIRONMENTS)
def test_an_interpreter_that_has_everything_serves_as_it_is(folder: Path, target: str) -> None:
    complete = interpreter(folder, {})
    planned = make(folder, "-n", target, f"PYTHON={complete}").stdout
    assert f"{complete} -m" in planned
    assert ".venv" not in planned


def test_an_interpreter_that_has_odenet_but_not_all_is_left_aside_with_a_word_why(folder: Path) -> None:
    partial = interpreter(folder, {"find_spec": "echo tyro rich"})
    planned = make(folder, "-n", "demo", f"PYTHON={partial}").stdout
    assert f"{partial} has odenet but lacks tyro rich: taking .venv instead" in planned
    assert ".venv/bin/python -m experiments" in planned


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            {"find_spec": "exit 2", "version_info": "exit 1", "--version": "echo Python 3.9.2"},
            "Python 3.9.2 and odenet needs 3.11",
        ),
        ({"find_spec": "echo odenet", "ensurepip": "exit 1"}, "without the module venv or ensurepip: install it"),
    ],
)
def test_an_interpreter_that_cannot_make_an_environment_is_refused_with_what_to_do(
    folder: Path, answers: dict[str, str], message: str
) -> None:
    refused = make(folder, "demo", f"PYTHON={interpreter(folder, answers)}")
    assert refused.returncode != 0
    assert message in refused.stderr
    assert "as in make PYTHON=python3.12" in refused.stderr


def test_an_interpreter_that_is_not_there_is_refused_with_what_to_do(folder: Path) -> None:
    refused = make(folder, "demo", "PYTHON=python-that-is-not-there")
    assert refused.returncode != 0
    assert "cannot be run: install Python 3.11 or newer, or name one" in refused.stderr


def test_an_environment_that_was_interrupted_halfway_is_made_again(folder: Path) -> None:
    broken = interpreter(folder, {"find_spec": "echo odenet", "-m venv": "mkdir -p .venv/bin; exit 1"})
    assert make(folder, "demo", f"PYTHON={broken}").returncode != 0
    assert f"{broken} -m venv .venv" in make(folder, "-n", "demo", f"PYTHON={broken}").stdout


def test_cleaning_leaves_data_runs_and_records(folder: Path) -> None:
    for name in (".venv", "data", "runs", "records", "odenet/__pycache__"):
        (folder / name).mkdir(parents=True)
    assert make(folder, "clean").returncode == 0
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["data", "odenet", "records", "runs"]
    assert not (folder / "odenet" / "__pycache__").exists()


def test_gpu_work_is_refused_where_there_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("ODENET_COMMIT", "0" * 40)  # where the tests run in a copy without its repository
    stamp(folder, "test")
    refused = make(folder, "gpu", f"PYTHON={sys.executable}")
    assert refused.returncode != 0
    assert "finds no CUDA device here: run the command on a machine with one" in refused.stderr


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((), '--minutes 8 --out "runs/on_gpu/out"'),
        (("MINUTES=2.5", "OUT=some where"), '--minutes 2.5 --out "some where"'),
        (("ARGS=--plan",), '--out "runs/on_gpu/out" --plan'),
    ],
)
def test_gpu_work_has_the_minutes_and_the_folder_that_it_is_given(
    folder: Path, given: tuple[str, ...], told: str
) -> None:
    complete = interpreter(folder, {})
    planned = make(folder, "-n", "gpu", f"PYTHON={complete}", *given).stdout
    assert f"{complete} -m experiments.on_gpu" in planned
    assert told in planned
