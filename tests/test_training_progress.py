"""Progress in a terminal, in a log, and not at all."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from odenet.training import fit, progress
from odenet.training.progress import Bar, Lines, Silence, clock, show_progress
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


def test_long_trainings_get_a_line_every_ten_minutes_and_a_last_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    lines = Lines("net", done=100, total=200)
    for done in range(101, 201):
        now[0] += 20.0
        lines.step(done, f"step {done}")
        if done % 20 == 0:
            lines.epoch(done, f"epoch {done // 20}")
    assert capsys.readouterr().out.splitlines() == [
        "net  step 130  0:23:20 left",
        "net  step 160  0:13:20 left",
        "net  step 190  0:03:20 left",
        "net  epoch 10  in 0:33:20",
    ]


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
        assert isinstance(bar, Bar)
        bar.step(3, "loss 0.5")
        bar.epoch(10, "loss 0.25")
    printed = capsys.readouterr().out
    assert "net" in printed
    assert "loss 0.25" in printed
    assert "left" in printed


def test_the_terminal_is_given_back_when_a_training_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    close, closed = Bar.close, []
    monkeypatch.setattr(Bar, "close", lambda bar: closed.append(bar) or close(bar))
    bar = show_progress("net", 0, 10)
    with pytest.raises(ZeroDivisionError), bar:
        raise ZeroDivisionError
    assert closed == [bar]


def test_only_the_main_process_shows_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(show_progress("net", 0, 1), Lines)
    assert isinstance(show_progress("net", 0, 1, quiet=True), Silence)
    monkeypatch.setenv("RANK", "1")
    assert isinstance(show_progress("net", 0, 1), Silence)


def test_a_clock_shows_hours_minutes_and_seconds() -> None:
    assert [clock(s) for s in (0, 59.6, 3599, 360000)] == ["0:00:00", "0:01:00", "0:59:59", "100:00:00"]
