"""A run computes no result twice and overwrites no record of another run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from odenet.training import CheckpointError, Record, RecordError, Run, Training, runs
from odenet.training.environment import code
from odenet.training.fingerprints import fingerprint
from odenet.training.holds import HeldByAnother
from tests.training_cases import SETTINGS, TASK, evaluation_batches, noisy_net, train_batches


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


# Whose record it is


def test_records_whose_names_differ_behind_a_dot_have_folders_of_their_own(tmp_path: Path) -> None:
    folders = {open_run(tmp_path / name).folder("seed0") for name in ("shift0.5", "shift0.7", "shift0.json", "shift0")}
    assert len(folders) == 4


def test_a_run_that_was_opened_again_writes_no_more(path: Path) -> None:
    first = open_run(path)
    second = open_run(path)
    second.once("a", lambda: {"x": 1})
    with pytest.raises(RecordError, match=r"cpu\.json is no longer this run's: .*the run that was opened last"):
        first.once("b", lambda: {"x": 2})
    assert Record.load(path).results == {"a": {"x": 1}}
    second.finish()


def test_a_record_that_somebody_else_writes_in_spite_of_the_lock_is_not_overwritten(path: Path) -> None:
    run = open_run(path)
    theirs = replace(run.record, results={"b": {"x": 2}})
    theirs.save(path)
    with pytest.raises(RecordError, match=r"cpu\.json was written by another run under way, in spite of the lock"):
        run.once("a", lambda: {"x": 1})
    assert Record.load(path).results == {"b": {"x": 2}}
    path.unlink()
    run.once("c", lambda: {"x": 1})
    assert set(Record.load(path).results) == {"a", "c"}


def test_a_run_that_was_closed_writes_no_more_and_can_be_opened_again(path: Path) -> None:
    run = open_run(path)
    run.close()
    with pytest.raises(RecordError, match="no longer this run's: it was closed"):
        run.once("a", lambda: {"x": 1})
    assert open_run(path).once("a", lambda: {"x": 1}) == {"x": 1}


@pytest.mark.parametrize(
    ("error", "results", "stays"),
    [
        (ValueError, 0, False),
        (TypeError, 0, False),
        (ValueError, 1, True),
        (KeyboardInterrupt, 0, True),
        (None, 0, True),
    ],
)
def test_a_run_that_is_refused_before_it_has_a_result_leaves_no_record_in_the_way_of_a_better_one(
    error: type[BaseException] | None, results: int, stays: bool, path: Path
) -> None:
    def work() -> None:
        with open_run(path) as run:
            if results:
                run.once("a", lambda: {"x": 1})
            if error is not None:
                raise error

    with pytest.raises(error) if error is not None else nullcontext():
        work()
    assert path.exists() == stays
    if not stays:
        assert not open_run(path, replace(Settings(), tolerance=1)).finished
    elif error is ValueError:
        with pytest.raises(ValueError, match="a later session"), open_run(path):
            raise ValueError("a later session")
        assert path.exists()


def test_a_record_in_work_elsewhere_is_refused_and_a_finished_one_is_handed_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_run(path).once("a", lambda: {"x": 1})

    def held(path: Path) -> Any:
        raise HeldByAnother(f"{path} is in use: process 1 on a, since 2020, holds it.")

    with monkeypatch.context() as patched:
        patched.setattr(runs.Hold, "take", held)
        with pytest.raises(RecordError, match=r"the record .*cpu\.json is in use: process 1 on a, .*--record"):
            open_run(path)
    open_run(path).finish()
    monkeypatch.setattr(runs.Hold, "take", held)
    assert open_run(path).finished


@dataclass(frozen=True)
class Asking:
    checkpoint: Path | None
    others: tuple[Path, ...] = ()


@pytest.mark.parametrize("finished", [True, False])
def test_a_file_that_settings_name_counts_by_its_content(path: Path, tmp_path: Path, finished: bool) -> None:
    file, other = tmp_path / "net", tmp_path / "other"
    file.write_text("trained")
    other.write_text("other")
    settings = Asking(file, (other,))
    run = open_run(path, settings)
    if finished:
        run.finish()
    assert open_run(path, settings).finished == finished
    file.write_text("trained again")
    with pytest.raises(RecordError, match=r"another run \(the file of the setting checkpoint has other content\)"):
        open_run(path, settings)
    file.write_text("trained")
    other.write_text("another")
    with pytest.raises(RecordError, match=r"the file of the setting others\[0\] has other content"):
        Run.recorded("widths", settings, path, preset="cpu")


def test_a_record_that_does_not_say_which_content_a_file_had_is_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "net").write_text("trained")
    run = open_run(path, Asking(tmp_path / "net"))
    run.finish()
    replace(Record.load(path), made_from={}).save(path)  # like a record of format 1, without fingerprints
    with pytest.raises(RecordError, match="the file of the setting checkpoint has other content"):
        open_run(path, Asking(tmp_path / "net"))


def test_what_results_are_made_from_is_in_the_record_and_must_stay_the_same(path: Path) -> None:
    run = open_run(path)
    run.made_from("data", {"images": torch.zeros(3)})
    assert Record.load(path).made_from == {"data": fingerprint({"images": torch.zeros(3)})}
    again = open_run(path)
    again.made_from("data", {"images": torch.zeros(3)})
    with pytest.raises(RecordError, match=r"made from other content: data is \w{32} now, and was \w{32}.*cpu\.json\.d"):
        again.made_from("data", {"images": torch.ones(3)})
    again.finish()
    finished = open_run(path)
    finished.made_from("more", 1)
    assert set(Record.load(path).made_from) == {"data"}
    with pytest.raises(RecordError, match="made from other content"):
        finished.made_from("data", 1)


def test_every_session_leaves_a_fingerprint_of_the_code(path: Path) -> None:
    open_run(path)
    assert [session["code"] for session in Record.load(path).sessions] == [code()]


# Trainings


ONE_EPOCH = replace(SETTINGS, epochs=1, checkpoint_seconds=60.0)


def trained(run: Run, key: str = "seed0", **change: Any) -> list[float]:
    asked = {"model": noisy_net(), "task": TASK, "train": train_batches(), "test": None, "settings": ONE_EPOCH} | change
    return run.fit(key, **asked, seed=5, quiet=True).column("train_loss")


def test_a_training_is_read_back_and_the_record_says_what_it_was_made_from(path: Path) -> None:
    run = open_run(path)
    losses = trained(run)
    made_from = Record.load(path).made_from
    assert {name.partition(": ")[0] for name in made_from} == {"seed0"}
    assert {"seed0: training labels", "seed0: initial weights", "seed0: trained weights"} <= made_from.keys()
    assert made_from["seed0: initial weights"] != made_from["seed0: trained weights"]
    assert made_from["seed0: training batches"] == fingerprint(train_batches())
    assert trained(open_run(path)) == losses
    assert Record.load(path).made_from == made_from


def test_a_record_that_was_deleted_leaves_trainings_to_the_same_settings_alone(path: Path) -> None:
    losses = trained(open_run(path))
    path.unlink()
    assert trained(open_run(path)) == losses
    path.unlink()
    with pytest.raises(CheckpointError, match=r"context\.tolerance: asked for 1, found .*are in .*cpu\.json\.d"):
        trained(open_run(path, replace(Settings(), tolerance=1)))


def test_weights_that_are_not_those_of_the_record_are_refused(path: Path) -> None:
    run = open_run(path)
    trained(run)
    replace(run.record, made_from=run.record.made_from | {"seed0: trained weights": "0"}).save(path)
    with pytest.raises(RecordError, match="other content: seed0: trained weights is"):
        trained(open_run(path))


def test_a_training_on_other_data_is_refused_where_its_checkpoint_has_gone(path: Path) -> None:
    run = open_run(path)
    trained(run)
    shutil.rmtree(run.folder("seed0"))
    with pytest.raises(RecordError, match="other content: seed0: training batches is"):
        trained(open_run(path), train=evaluation_batches())
