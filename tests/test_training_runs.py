"""Runs: nothing is computed twice, nothing is overwritten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from odenet.training import Record, RecordError, Run, Training, runs


@dataclass(frozen=True)
class Settings:
    widths: tuple[int, ...] = (4, 8)
    tolerance: float = float("inf")
    training: Training = field(default_factory=Training)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "widths" / "cpu.json"


def open_run(path: Path, settings: Any = Settings(), experiment: str = "widths", preset: str = "cpu") -> Run:
    return Run.open(experiment, settings, path, preset=preset)


def returning(value: Any, calls: list[Any]) -> Callable[[], Any]:
    def compute() -> Any:
        calls.append(value)
        return value

    return compute


def test_a_result_is_computed_once_and_in_the_record_at_once(path: Path) -> None:
    calls: list[Any] = []
    run = open_run(path)
    assert run.once("a", returning({"x": 1}, calls)) == {"x": 1}
    assert Record.load(path).results == {"a": {"x": 1}}
    assert run.once("a", returning({"x": 2}, calls)) == {"x": 1}
    assert len(calls) == 1


def test_an_interrupted_run_goes_on_with_the_results_that_it_has(path: Path) -> None:
    calls: list[Any] = []
    first = open_run(path)
    first.once("a", returning({"x": 1}, calls))

    def fails() -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.once("b", fails)
    second = open_run(path)
    assert not second.finished
    assert second.once("a", returning({"x": 2}, calls)) == {"x": 1}
    assert second.once("b", returning({"x": 3}, calls)) == {"x": 3}
    second.finish()
    assert calls == [{"x": 1}, {"x": 3}]
    assert len(Record.load(path).sessions) == 2


def test_a_result_is_the_same_when_computed_and_when_read(path: Path) -> None:
    computed = open_run(path).once("a", lambda: {"curve": (1.0, float("nan")), "n": 3})
    assert repr(computed) == repr(open_run(path).once("a", dict)) == "{'curve': [1.0, nan], 'n': 3}"


def test_a_finished_run_is_handed_back_and_said_to_be_finished(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = open_run(path)
    run.once("a", lambda: {"x": 1})
    run.finish(table=[{"x": 1}])
    before = path.read_bytes()
    assert capsys.readouterr().out == ""

    again = open_run(path)
    assert again.finished
    assert again.record.summary == {"table": [{"x": 1}]}
    assert again.once("a", lambda: pytest.fail("computed again")) == {"x": 1}
    again.finish(table=[])
    assert path.read_bytes() == before
    assert "is finished" in (said := capsys.readouterr().out)
    assert "not run again" in said
    assert "--record" in said


def test_a_finished_run_refuses_results_that_it_does_not_have(path: Path) -> None:
    run = open_run(path)
    run.once("a", lambda: {"x": 1})
    run.finish()
    with pytest.raises(RecordError, match=r"is finished and has no result 'b' \(it has 'a'\): the script has changed"):
        open_run(path).once("b", dict)


@pytest.mark.parametrize(
    ("asked", "difference"),
    [
        ({"settings": replace(Settings(), widths=(4, 16))}, r"widths\[1\]: asked for 16, found 8"),
        ({"settings": replace(Settings(), training=Training(lr=0.2))}, r"training\.lr: asked for 0\.2, found 0\.1"),
        ({"experiment": "depths"}, "experiment: asked for 'depths', found 'widths'"),
        ({"preset": "gpu"}, "preset: asked for 'gpu', found 'cpu'"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_a_record_of_other_settings_is_refused_with_the_difference_and_not_overwritten(
    asked: dict[str, Any], difference: str, finished: bool, path: Path
) -> None:
    run = open_run(path)
    if finished:
        run.finish()
    before = path.read_bytes()
    with pytest.raises(RecordError, match=rf"cpu\.json is that of another run \({difference}\).*--record.* delete"):
        open_run(path, **asked)
    assert path.read_bytes() == before


def test_a_foreign_file_in_the_way_is_refused_and_not_overwritten(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(RecordError, match="cannot be read"):
        open_run(path)
    assert path.read_text() == "mine"


def test_a_result_that_json_cannot_hold_is_refused_by_its_place(path: Path) -> None:
    with pytest.raises(TypeError, match=r"result 'a'\.x is a set"):
        open_run(path).once("a", lambda: {"x": {1}})
    assert Record.load(path).results == {}


def test_every_session_leaves_when_where_and_with_what_it_worked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for commit in ("one", "two+changes"):
        monkeypatch.setattr(runs, "commit", lambda commit=commit: commit)
        open_run(path)
    record = Record.load(path)
    assert record.commits == ["one", "two+changes"]
    for session in record.sessions:
        assert session["started"].endswith("+00:00")
        assert session["seconds"] >= 0
        assert session["versions"]["torch"]
        assert session["machine"]["threads"] >= 1


def test_each_key_has_a_folder_of_its_own_beside_the_record(path: Path) -> None:
    run = open_run(path)
    keys = ["seed0/euler, h=1", "seed0_euler, h=1", "..", ".", "a%2Fb", "a/b", "θ"]
    folders = [run.folder(key) for key in keys]
    assert len(set(folders)) == len(keys)
    assert {folder.resolve().parent for folder in folders} == {path.with_name("cpu.json.d").resolve()}
    assert not path.with_name("cpu.json.d").exists()


def test_only_the_main_process_writes_and_speaks(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    run = open_run(path)
    assert run.once("a", lambda: {"x": 1}) == {"x": 1}
    run.finish()
    assert not path.exists()
    monkeypatch.setenv("RANK", "0")
    open_run(path).finish()
    monkeypatch.setenv("RANK", "1")
    assert open_run(path).finished
    assert capsys.readouterr().out == ""
