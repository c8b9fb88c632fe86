"""Files are whole or not there; a failure names the path and leaves what was there."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from odenet.training.files import CannotWrite, write_atomically


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    write_atomically(path, b"one", "file")
    write_atomically(path, b"two", "file")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_told_with_the_path_and_the_old_file_stays(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old", "record")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(CannotWrite, match=r"the record .*file cannot be written: No space left.*free some space"):
        write_atomically(path, b"new", "record")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_told_with_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    with pytest.raises(CannotWrite, match=r"the checkpoint .*file/below/checkpoint.pt cannot be written"):
        write_atomically(tmp_path / "file" / "below" / "checkpoint.pt", b"", "checkpoint")
    assert (tmp_path / "file").read_bytes() == b"in the way"


def test_the_bytes_are_on_the_disk_before_the_name_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append("sync") or sync(descriptor))
    monkeypatch.setattr(os, "replace", lambda *names: calls.append("rename") or rename(*names))
    write_atomically(tmp_path / "file", b"", "file")
    assert calls[:2] == ["sync", "rename"]
