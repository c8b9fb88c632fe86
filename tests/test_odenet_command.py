"""The command `odenet` finds the scripts of a clone and of a wheel, runs them, and answers a mistake in a line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import odenet
from experiments.support.invocation import as_invoked
from odenet import command

ROOT = Path(__file__).parents[1]


def ran(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder of the user's."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "odenet.command", *arguments]
    return subprocess.run(
        line, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )


def test_the_list_is_that_of_the_experiments_in_the_commands_of_this_program(tmp_path):
    outcome = ran("list", folder=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert "What happens if you take more layers and smaller steps?\n" in outcome.stdout
    assert "    odenet run depth_refinement cpu " in outcome.stdout
    assert outcome.stdout.endswith("Settings of an experiment: odenet run NAME --help\n")
    assert "python -m" not in outcome.stdout


def test_an_experiment_runs_in_a_folder_that_has_packages_of_the_same_names(tmp_path):
    for name in ("experiments", "paper_figs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('this is the package of the user')")
    outcome = ran("run", "upsampling", "smoke", "--seeds", "0", folder=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert (tmp_path / "runs" / "upsampling" / "smoke.json").exists()
    figure = ran("figures", "upsampling", "--record", "runs/upsampling/smoke.json", folder=tmp_path)
    assert figure.returncode == 0, figure.stderr
    assert (tmp_path / "runs" / "upsampling" / "upsampling-smoke.png").exists()


def test_an_experiment_explains_itself_in_the_commands_of_this_program(tmp_path):
    outcome = ran("run", "depth_refinement", "--help", folder=tmp_path)
    assert outcome.returncode == 0
    assert "odenet run depth_refinement demo" in outcome.stdout
    assert "usage: odenet run depth_refinement {smoke, demo, " in outcome.stdout
    assert "python -m" not in outcome.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runn"], "odenet: unknown action 'runn'; did you mean 'run'? Known: figures, list, run."),
        (["run"], "odenet: run needs the name of an experiment: odenet run NAME, where NAME is one of cate"),
        (["run", "upsamplin"], "odenet: unknown experiment 'upsamplin'; did you mean 'upsampling'?"),
        (["figures", "upsamplin"], "odenet: unknown figure 'upsamplin'; did you mean 'upsampling'?"),
    ],
)
def test_a_mistake_is_answered_with_the_names_that_there_are(arguments, said, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for variable in ("PYTHONPATH", "ODENET_COMMAND"):
        monkeypatch.setenv(variable, "")
    with pytest.raises(SystemExit) as raised:
        command.main(arguments)
    assert str(raised.value).startswith(said)


def test_alone_it_explains_itself_and_it_knows_its_version(capsys):
    command.main([])
    assert "odenet run depth_refinement cpu" in capsys.readouterr().out
    command.main(["--version"])
    assert capsys.readouterr().out == f"{odenet.__version__}\n"


def test_ctrl_c_ends_it_as_a_shell_expects(monkeypatch):
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_run", interrupted)
    with pytest.raises(SystemExit) as raised:
        command.main([])
    assert raised.value.code == 130


def test_the_scripts_of_a_wheel_are_inside_of_the_package_and_those_of_a_clone_beside_it(tmp_path):
    package = tmp_path / "odenet"
    with pytest.raises(FileNotFoundError, match="install odenet again, or run the command in a clone"):
        command.script_folder(package)
    for folder in (tmp_path, package / "scripts"):  # a wheel's go first
        (folder / "experiments").mkdir(parents=True)
        (folder / "experiments" / "__main__.py").touch()
        assert command.script_folder(package) == folder
    assert command.script_folder() == ROOT


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("python -m experiments.sweep NAME", "odenet run sweep NAME"),
        ("python -m experiments", "odenet list"),
        ("python -m paper_figs.scaling --out here", "odenet figures scaling --out here"),
        ("python -m paper_figs", "odenet figures"),
        ("python -m paper_figs.claims", "python -m paper_figs.claims"),
        ("python -m benchmarks", "python -m benchmarks"),
    ],
)
def test_command_lines_in_texts_are_those_that_the_user_can_type(typed, shown, monkeypatch):
    assert as_invoked(f"run {typed}.") == f"run {typed}."
    monkeypatch.setenv("ODENET_COMMAND", "odenet")
    assert as_invoked(f"run {typed}.") == f"run {shown}."
