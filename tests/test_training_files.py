"""Files are written completely or not at all; an error names the path and leaves the former file intact."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from odenet.training import files
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


# Temporary files


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*.part"))


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError, RuntimeError])
def test_whatever_goes_wrong_no_temporary_file_is_left(
    error: type[BaseException], call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old", "file")

    def fails(*_: Any) -> None:
        assert len(parts(tmp_path)) == 1, "so that the test shows something"
        raise error

    monkeypatch.setattr(os, call, fails)
    with pytest.raises(CannotWrite if error is OSError else error):
        write_atomically(path, b"new", "file")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_temporary_files_have_random_names_and_none_is_written_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    rename = os.replace
    monkeypatch.setattr(os, "replace", lambda part, path: seen.append(Path(part).name) or rename(part, path))
    for _ in range(3):
        write_atomically(tmp_path / "file", b"", "file")
    assert len(set(seen)) == 3
    assert not any(str(os.getpid()) in name.split(".") for name in seen)
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "0" * 16)
    theirs = tmp_path / f".file.{'0' * 16}.part"
    theirs.write_bytes(b"of another writer")
    with theirs.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as the writer of the file does
        with pytest.raises(CannotWrite, match="File exists"):
            write_atomically(tmp_path / "file", b"new", "file")
    assert theirs.read_bytes() == b"of another writer"


def test_the_next_write_into_the_folder_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    left = tmp_path / f".checkpoint.pt.{'a' * 16}.part"
    left.write_bytes(b"half a ch")
    write_atomically(tmp_path / "another file", b"", "file")
    assert not left.exists()


def test_what_another_process_writes_and_what_is_no_temporary_file_stays(tmp_path: Path) -> None:
    written = tmp_path / f".file.{'b' * 16}.part"
    others = [
        tmp_path / name for name in (".part", "file.part", ".file.part", f"file.{'a' * 16}.part", ".file.12.part")
    ]
    for path in (written, *others):
        path.write_bytes(b"")
    with written.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_atomically(tmp_path / "file", b"", "file")
        assert written.exists()
    assert all(path.exists() for path in others)


@pytest.mark.parametrize(("hours", "stays"), [(1, True), (25, False)])
def test_where_there_are_no_locks_age_decides(
    hours: float, stays: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    left = tmp_path / f".file.{'a' * 16}.part"
    left.write_bytes(b"half")
    then = time.time() - 3600 * hours
    os.utime(left, (then, then))
    monkeypatch.setattr(fcntl, "flock", unsupported)
    write_atomically(tmp_path / "file", b"new", "file")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert left.exists() == stays


@pytest.mark.parametrize(("times", "arrives"), [(2, True), (3, False)])
def test_a_temporary_file_that_somebody_removes_is_written_anew(
    times: int, arrives: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[Path] = []
    sync = os.fsync

    def remove(descriptor: int) -> None:
        if len(removed) < times and (found := parts(tmp_path)):
            removed.append(found[0])
            found[0].unlink()
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", remove)
    if arrives:
        write_atomically(tmp_path / "file", b"new", "file")
        assert (tmp_path / "file").read_bytes() == b"new"
    else:
        with pytest.raises(CannotWrite, match="No such file"):
            write_atomically(tmp_path / "file", b"new", "file")
    assert len(set(removed)) == times


def test_of_a_link_the_file_behind_it_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("far/file")
    write_atomically(tmp_path / "link", b"new", "file")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "file").read_bytes() == b"new"


def test_a_name_as_long_as_the_system_allows_can_be_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / ("n" * 255), b"new", "file")
    assert (tmp_path / ("n" * 255)).read_bytes() == b"new"


# The writer runs in processes that are killed. It is read from its file, for importing torch takes seconds.
WRITER = f"""
import itertools, pathlib, runpy, sys
write = runpy.run_path({str(files.__file__)!r})["write_atomically"]
print("ready", flush=True)
for number in itertools.count():
    write(pathlib.Path(sys.argv[1]), bytes([number % 251]) * 1_000_000, "file")
"""


def writing(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def require_whole(path: Path) -> None:
    content = path.read_bytes()
    assert len(content) == 1_000_000
    assert len(set(content)) == 1


def test_killed_at_any_moment_a_writer_leaves_a_whole_file_and_the_next_write_nothing_else(tmp_path: Path) -> None:
    path, drawn, left = tmp_path / "file", random.Random(0), 0
    write_atomically(path, bytes(1_000_000), "file")
    for number in range(25):
        process = writing(path)
        while number % 2 and not parts(tmp_path):
            assert process.poll() is None
        time.sleep(0.02 * drawn.random() if number % 2 == 0 else 0)
        process.kill()
        process.wait()
        require_whole(path)
        left += len(parts(tmp_path))
        write_atomically(tmp_path / "another", b"", "file")
        assert parts(tmp_path) == []
    assert left > 0, "so that the test shows something"


def test_several_writers_of_one_file_leave_it_whole_at_every_moment(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, bytes(1_000_000), "file")
    processes = [writing(path) for _ in range(3)]
    try:
        for _ in range(300):
            require_whole(path)
    finally:
        for process in processes:
            assert process.poll() is None, "it has failed"
            process.kill()
            process.wait()
    write_atomically(path, bytes(1_000_000), "file")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
