"""Tests of `python -m experiments`: it lists every script with its question and commands, and answers any name."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from experiments.__main__ import Script, answer, scripts

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_every_script_is_listed_with_its_question_and_its_commands(path):
    script = Script.read(path.stem)
    assert script.question == (import_module(f"experiments.{path.stem}").__doc__ or "").splitlines()[0]
    assert "?" in script.question
    assert script.commands
    assert str(script) in answer([])


@pytest.mark.parametrize("name", [n for n in scripts() if "\nPRESETS" in (ROOT / f"experiments/{n}.py").read_text()])
def test_the_commands_of_an_experiment_say_how_long_a_preset_takes(name):
    comments = [command.partition("  # ")[2] for command in Script.read(name).commands]
    assert any("minute" in comment for comment in comments)
    assert any("core" in comment or "H100" in comment for comment in comments)


def test_the_list_needs_no_torch_and_ends_with_how_to_see_settings():
    program = "import sys; from experiments.__main__ import main; main(); sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    outcome = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.count("?\n") + outcome.stdout.count("? ") >= len(scripts())
    assert outcome.stdout.endswith("Settings of an experiment: python -m experiments.NAME --help\n")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_is_the_list(option):
    assert answer([option]) == answer([])


def test_a_name_is_answered_with_its_question_and_how_to_see_its_settings():
    lines = answer(["upsampling"]).splitlines()
    assert lines[0].startswith("Which upsampling")
    assert lines[1].startswith("    python -m experiments.upsampling cpu")
    assert lines[-1] == "Settings: python -m experiments.upsampling --help"


def test_an_unknown_name_is_answered_with_the_nearest_one():
    with pytest.raises(ValueError, match="unknown experiment 'upsamplin'; did you mean 'upsampling'"):
        answer(["upsamplin"])


@pytest.mark.parametrize("name", ["support", "__main__"])
def test_what_is_no_experiment_is_not_listed(name):
    assert name not in scripts()
    with pytest.raises(ValueError, match=f"unknown experiment '{name}'"):
        answer([name])


def test_a_preset_is_answered_with_the_command_that_runs_it():
    with pytest.raises(ValueError, match=r"'upsampling cpu' was asked for, .* by python -m experiments.upsampling cpu"):
        answer(["upsampling", "cpu"])


def test_on_the_command_line_an_error_is_a_line():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "experiments", "upsamplin"]
    outcome = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("experiments: unknown experiment 'upsamplin'")
    assert "Traceback" not in outcome.stderr
