"""Checkpoints from which a training must not resume are refused by name, and existing files are left intact."""

from __future__ import annotations

import errno
import io
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from odenet.training import CannotWrite, CheckpointError, Classification, fit
from odenet.training.checkpoints import FORMAT, Checkpoint, _sealed
from tests.training_cases import SETTINGS, TASK, evaluation_batches, noisy_net, train, train_batches

IDENTITY = {"seed": 1}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", IDENTITY, seconds=0)
    checkpoint.write({"x": torch.arange(3)})
    return checkpoint


def test_a_checkpoint_hands_back_what_was_written(checkpoint: Checkpoint) -> None:
    state = checkpoint.read()
    assert state is not None
    assert torch.equal(state["x"], torch.arange(3))


def test_of_two_trainings_at_once_in_a_folder_the_one_that_comes_too_late_says_so(tmp_path: Path) -> None:
    first, second = (Checkpoint(tmp_path / "checkpoint.pt", {"seed": seed}, seconds=0) for seed in (1, 2))
    assert (first.read(), second.read()) == (None, None)
    first.write({"x": 1})
    first.write({"x": 2})
    with pytest.raises(
        CheckpointError, match=r"was written by another training under way in the same folder.*--record"
    ):
        second.write({"x": 3})
    assert first.read() == {"x": 2}


def test_a_checkpoint_that_was_deleted_under_way_is_written_again(checkpoint: Checkpoint) -> None:
    checkpoint.path.unlink()
    checkpoint.write({"x": 1})
    assert checkpoint.read() == {"x": 1}


def test_without_a_file_there_is_no_state(tmp_path: Path) -> None:
    assert Checkpoint(tmp_path / "checkpoint.pt", IDENTITY, seconds=0).read() is None


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_truncated_checkpoint_is_refused_by_name(kept: int, checkpoint: Checkpoint) -> None:
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=f"{re.escape(str(checkpoint.path))} cannot be read.*Delete it to begin"):
        checkpoint.read()


def test_torch_reads_a_checkpoint_and_unzip_finds_it_whole(checkpoint: Checkpoint) -> None:
    assert torch.equal(torch.load(checkpoint.path, weights_only=True)["state"]["x"], torch.arange(3))
    with zipfile.ZipFile(checkpoint.path) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"odenet sha256 ")


@pytest.mark.parametrize("lost", ["checksum", "identity", "state"])
def test_a_checkpoint_without_one_of_its_parts_is_refused(lost: str, checkpoint: Checkpoint) -> None:
    content = {"kind": "odenet checkpoint", "format": FORMAT, "identity": IDENTITY, "state": {}}
    archive = io.BytesIO()
    torch.save({name: entry for name, entry in content.items() if name != lost}, archive)
    checkpoint.path.write_bytes(archive.getvalue() if lost == "checksum" else _sealed(archive.getvalue()))
    with pytest.raises(CheckpointError, match=r"cannot be read \(its checksum is not that of its content"):
        checkpoint.read()


def test_an_identity_without_end_is_refused_and_one_that_says_a_billion_times_the_same_is_compared(
    checkpoint: Checkpoint,
) -> None:
    endless: dict[str, Any] = {}
    endless["a"] = endless
    laughs: Any = "ha"
    for _ in range(60):
        laughs = [laughs, laughs]
    for identity, said in ((endless, "cannot be read .*nested too deep"), (laughs, "belongs to another training")):
        archive = io.BytesIO()
        content = {"kind": "odenet checkpoint", "format": FORMAT, "identity": identity, "state": {}}
        torch.save(content, archive)
        checkpoint.path.write_bytes(_sealed(archive.getvalue()))
        with pytest.raises(CheckpointError, match=said):
            checkpoint.read()


def write_weights(path: Path) -> None:
    torch.save(noisy_net().state_dict(), path)


def write_tensor(path: Path) -> None:
    torch.save(torch.zeros(3), path)


def write_text(path: Path) -> None:
    path.write_text("epoch,loss\n1,0.5\n")


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("write", [write_weights, write_tensor, write_text, make_folder])
def test_a_foreign_file_is_refused_by_name(write: Callable[[Path], Any], checkpoint: Checkpoint) -> None:
    checkpoint.path.unlink()
    checkpoint.path.touch()
    write(checkpoint.path)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt cannot be read.*was not written by odenet"):
        checkpoint.read()


class Malice:
    """Object whose pickle runs code when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["MALICE"],)


def test_reading_runs_no_code(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    done = checkpoint.path.with_name("done")
    monkeypatch.setenv("MALICE", str(done))
    torch.save({"kind": "odenet checkpoint", "format": FORMAT, "state": Malice()}, checkpoint.path)
    with pytest.raises(CheckpointError, match="it holds more than plain data and tensors") as refusal:
        checkpoint.read()
    assert "weights_only" not in str(refusal.value), "torch's advice to run the code"
    assert not done.exists()
    pickle.loads(pickle.dumps(Malice()))
    assert done.exists()  # the pickle does run code elsewhere


@pytest.mark.parametrize("number", [FORMAT - 1, FORMAT + 1])
def test_another_format_is_refused_with_both_numbers(number: int, checkpoint: Checkpoint) -> None:
    # Checkpoints of format 1 lack the fingerprints of data, batches and initial weights.
    torch.save({"kind": "odenet checkpoint", "format": number, "identity": IDENTITY, "state": {}}, checkpoint.path)
    with pytest.raises(CheckpointError, match=f"has format {number}, and this version of odenet reads format {FORMAT}"):
        checkpoint.read()


def test_a_checkpoint_is_due_when_its_time_has_passed(tmp_path: Path) -> None:
    assert Checkpoint(tmp_path / "a", IDENTITY, seconds=0).due
    assert not Checkpoint(tmp_path / "a", IDENTITY, seconds=3600).due


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"settings": replace(SETTINGS, lr=0.07)}, "settings.lr: asked for 0.07, found 0.05"),
        ({"settings": replace(SETTINGS, epochs=4)}, "settings.epochs: asked for 4, found 3"),
        ({"seed": 6}, "seed: asked for 6, found 5"),
        ({"task": Classification(3, label_smoothing=0.1)}, "task: asked for .*label_smoothing=0.1"),
        ({"train": evaluation_batches()}, "steps_per_epoch: asked for 3, found 5"),
        ({"model": nn.Sequential(*noisy_net()[:3], nn.Dropout(0.5), *noisy_net()[4:])}, r"network\[4\]: .*p=0\.5"),  # type: ignore[index]
    ],
)
def test_the_checkpoint_of_another_training_is_refused_with_the_difference(
    change: dict[str, Any], difference: str, tmp_path: Path
) -> None:
    train(noisy_net(), tmp_path)
    asked = {"model": noisy_net(), "task": TASK, "train": train_batches(), "settings": SETTINGS, "seed": 5} | change
    with pytest.raises(CheckpointError, match=rf"checkpoint\.pt belongs to another training.*{difference}.*another"):
        fit(**asked, test=evaluation_batches(), folder=tmp_path, quiet=True)


def test_a_full_disk_stops_with_the_path_and_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.pt"
    replaced: list[bytes] = []
    rename = os.replace

    def full_at_the_fourth(*names: Any) -> None:
        if len(replaced) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rename(*names)
        replaced.append(path.read_bytes())

    monkeypatch.setattr(os, "replace", full_at_the_fourth)
    with pytest.raises(CannotWrite, match=r"the checkpoint .*checkpoint\.pt cannot be written: No space left"):
        train(noisy_net(), tmp_path)
    assert path.read_bytes() == replaced[-1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_folder_that_cannot_be_made_stops_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match=r"file/training/checkpoint\.pt cannot be written"):
        train(noisy_net(), tmp_path / "file" / "training")
