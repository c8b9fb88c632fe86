"""The scripts in a terminal: tables of any width, one line for a refusal and for Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
import tyro

from experiments.depth_refinement import EXPERIMENT
from experiments.support.command import Experiment
from experiments.support.endings import ends_in_a_line
from experiments.support.parsing import parse
from experiments.support.tables import print_table
from odenet.training import Training
from odenet.training.checked import Checked
from tests.test_experiments import run

ROOT = Path(__file__).parents[1]
NETS = ("ode_net_dopri5", "ode_net_adjoint", "rk_net [wide]")
ROWS = [
    {
        **{"net": net, "layers": 8, "h": 0.5, "params": "2,518", "evals": 2, "accuracy %": "10.3 ± 1.2"},
        **{"as ODE %": "3.1 ± 0.2", "distance %": "55.8 ± 3.0", "s/epoch": "0.1"},
    }
    for net in NETS
]


@pytest.mark.parametrize("width", [300, 99, 98, 87, 80])
def test_a_table_keeps_its_first_column_and_every_number(width, capsys):
    print_table("nets", ROWS, width)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    for net, line in zip(NETS, [line for line in lines if "_net" in line], strict=True):
        assert re.match(rf"(│ )?{re.escape(net)}\s", line)
    words = " ".join(lines).replace("\u00a0", " ").split()
    for row in ROWS:
        for value in row.values():
            assert set(str(value).split()) <= set(words)
    assert not any("…" in line for line in lines)


@pytest.mark.parametrize("width", [60, 40, 30])
def test_a_table_that_does_not_fit_is_a_list_of_its_rows(width, capsys):
    print_table("nets", ROWS, width)
    title, *lists = capsys.readouterr().out.strip().split("\n\n")
    assert title == "nets"
    assert [text.splitlines()[0] for text in lists] == list(NETS)
    assert lists[0].splitlines()[1:4] == ["  layers: 8", "  h: 0.5", "  params: 2,518"]
    assert "as ODE %: 3.1 ± 0.2" in lists[2]


def test_a_table_in_a_log_takes_the_width_that_it_needs(capsys):
    print_table("wide", [{"net": "a" * 100, "text": "b" * 100}])
    assert f"{'a' * 100} │ {'b' * 100}" in capsys.readouterr().out


def test_a_table_without_rows_is_its_title(capsys):
    print_table("nothing yet", [])
    assert capsys.readouterr().out.strip() == "nothing yet"


@dataclass(frozen=True)
class Inner(Checked):
    """Settings within settings."""

    depth: int = 2
    """Depth."""


@dataclass(frozen=True)
class Outer(Checked):
    """Settings."""

    width: int = 3
    """Width."""
    inner: Inner = field(default_factory=Inner)
    """Settings within."""
    training: Training = field(default_factory=Training)
    """Settings of the training."""


@dataclass(frozen=True)
class Options:
    """Options of a program."""

    settings: Annotated[Outer, tyro.conf.arg(name="")] = field(default_factory=Outer)
    """Settings without a prefix."""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--width", "0"], "width must be a whole number of at least 1, got 0: pass such a value."),
        (["--inner.depth", "0"], "inner.depth must be a whole number of at least 1, got 0: pass such a value."),
        (["--training.lr", "0"], "training.lr must be positive and finite, got 0.0: it scales the steps"),
        (["--training.milestones", "1", "0"], "training.milestones must be in ascending order"),
    ],
)
def test_a_bad_value_of_nested_settings_is_explained_like_a_flat_one(arguments, said, capsys):
    with pytest.raises(ValueError, match=re.escape(said)):
        raise_of_settings(arguments)
    assert capsys.readouterr().err == ""


def raise_of_settings(arguments: list[str]) -> None:
    try:
        parse(Options, arguments, "program")
    except SystemExit:  # tyro's answer to a class that refuses its values at the top
        Outer(width=int(arguments[1]))


def test_a_text_of_another_type_and_an_unknown_option_are_explained_by_the_parser(capsys):
    for arguments, said in (["--inner.depth", "x"], "inner.depth"), (["--deph", "1"], "--deph"):
        with pytest.raises(SystemExit):
            parse(Options, arguments, "program")
        assert said in capsys.readouterr().err


def test_the_values_are_those_of_the_command_line():
    found = parse(Options, ["--inner.depth", "4", "--training.lr", "0.5"], "program").settings
    assert (found.width, found.inner.depth, found.training.lr) == (3, 4, 0.5)


def test_on_the_command_line_a_nested_setting_is_refused_in_a_line(tmp_path):
    outcome = run("experiments.depth_refinement", "smoke", "--training.lr", "0", folder=tmp_path)
    assert outcome.returncode == 1
    line = "depth_refinement: training.lr must be positive and finite, got 0.0: it scales the steps of the optimizer."
    assert outcome.stderr.splitlines() == [line]


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_ends_an_experiment_in_a_sentence_with_the_command_that_goes_on(monkeypatch, capsys):
    monkeypatch.setattr(Experiment, "run", interrupted)
    with pytest.raises(SystemExit) as raised:
        EXPERIMENT.main(["smoke", "--record", "my record.json"])
    assert raised.value.code == 130
    assert capsys.readouterr().err == (
        "\ndepth_refinement: interrupted; results and checkpoints are kept; to go on: "
        "python -m experiments.depth_refinement smoke --record 'my record.json'\n"
    )


def test_a_program_that_keeps_nothing_says_how_to_start_again(capsys):
    with pytest.raises(SystemExit), ends_in_a_line("paper_figs", []):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "\npaper_figs: interrupted; to start again: python -m paper_figs\n"


def test_of_the_processes_of_torchrun_one_asks_for_the_same_command(monkeypatch, capsys):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    for rank, said in (("0", "\na: interrupted; all is kept; to go on: give the same command again\n"), ("1", "")):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit), ends_in_a_line("experiments.a", [], kept="all is kept"):
            raise KeyboardInterrupt
        assert capsys.readouterr().err == said


def test_ctrl_c_in_a_terminal_leaves_one_line_also_with_workers(tmp_path):
    arguments = ["smoke", "--training.epochs", "100000", "--jobs", "2"]
    command = [sys.executable, "-m", "experiments.depth_refinement", *arguments]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        record = tmp_path / "runs" / "depth_refinement" / "smoke-digits.json"
        give_up = time.monotonic() + 300
        while not record.exists() and process.poll() is None and time.monotonic() < give_up:
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
        _, said = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode in (130, -signal.SIGINT), said  # a shell reports both as 130
    assert said.strip().splitlines() == [
        "depth_refinement: interrupted; results and checkpoints are kept; to go on: "
        f"python -m experiments.depth_refinement {' '.join(arguments)}"
    ]
