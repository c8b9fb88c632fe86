"""Progress is a bar in a terminal and at most one line per epoch in a log."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from odenet.training import fit
from odenet.training.progress import Progress, show_progress
from tests.training_cases import SETTINGS, TASK, evaluation_batches, noisy_net, train, train_batches


def test_a_log_gets_one_line_a_training_with_loss_metric_and_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(noisy_net(), TASK, train_batches(), evaluation_batches(), SETTINGS, seed=5, folder=tmp_path, label="noisy")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("noisy  epoch 3/3  loss ")
    assert "  accuracy 0." in line
    assert "  test 0." in line
    assert re.search(r"  in 0:\d\d:\d\d$", line)


def test_quiet_is_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(noisy_net(), tmp_path)
    assert capsys.readouterr().out == ""


def test_a_complete_training_shows_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        fit(noisy_net(), TASK, train_batches(), None, SETTINGS, seed=5, folder=tmp_path)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_long_trainings_get_a_line_after_an_epoch_every_ten_minutes_and_a_last_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [1000.0]
    progress = Progress("net", done=100, total=200, get_time=lambda: now[0])
    for done in range(101, 201):
        now[0] += 20.0
        progress.step(done, f"step {done}")
        if done % 5 == 0:
            progress.epoch(done, f"epoch {done // 5}")
    assert capsys.readouterr().out.splitlines() == [
        "net  epoch 26  0:23:20 left",
        "net  epoch 32  0:13:20 left",
        "net  epoch 38  0:03:20 left",
        "net  epoch 40  in 0:33:20",
    ]


@pytest.mark.parametrize("seconds", [0.01, 20.0, 2000.0])
def test_a_log_gets_at_most_one_line_an_epoch(seconds: float, capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    with Progress("net", 0, 30, get_time=lambda: now[0]) as progress:
        for done in range(1, 31):
            now[0] += seconds
            progress.step(done, "")
            if done % 10 == 0:
                progress.epoch(done, f"epoch {done // 10}")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len({line.split("  ")[1] for line in lines})
    assert "epoch 3  in " in lines[-1]


def test_a_training_that_fails_gets_no_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = show_progress("net", 0, 10)
    lines.epoch(5, "loss 0.5")
    with pytest.raises(ZeroDivisionError), lines:
        raise ZeroDivisionError
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_a_bar_with_the_facts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with show_progress("net", 0, 10) as bar:
        bar.step(3, "loss 0.5")
        bar.epoch(10, "loss 0.25")
    printed = capsys.readouterr().out
    assert "net" in printed
    assert "━" in printed
    assert "loss 0.25" in printed
    assert "left" in printed


def test_the_terminal_is_given_back_when_a_training_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    bar = show_progress("net", 0, 10)
    with suppress(ZeroDivisionError), bar:
        assert bar._bar.live.is_started
        raise ZeroDivisionError
    assert not bar._bar.live.is_started


@pytest.mark.parametrize("terminal", [True, False])
def test_only_the_main_process_shows_progress(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)

    def shown(*, quiet: bool = False) -> bool:
        with show_progress("net", 0, 1, quiet=quiet) as progress:
            progress.epoch(1, "loss 0.5")
        return capsys.readouterr().out != ""

    assert shown()
    assert not shown(quiet=True)
    monkeypatch.setenv("RANK", "1")
    assert not shown()
