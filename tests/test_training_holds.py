"""One process at a time holds a file, and another one is told which process it is."""

from __future__ import annotations

import gc
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from odenet.training.files import CannotWrite
from odenet.training.holds import HeldByAnother, Hold

ROOT = Path(__file__).parents[1]

HOLDER = """
import sys
from pathlib import Path
from odenet.training.holds import Hold
holds = {}
for line in sys.stdin:
    order, path = line.split()
    if order == "take":
        holds[path] = Hold.take(Path(path))
    else:
        holds[path].release()
    print("done", flush=True)
"""


class Other:
    """Process that holds files."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, order: str, path: Path) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(order, path, file=self.process.stdin, flush=True)
        assert self.process.stdout.readline() == "done\n"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def other() -> Iterator[Other]:
    other = Other()
    yield other
    other.kill()


def test_a_file_that_another_process_holds_is_refused_with_who_where_and_since_when(
    tmp_path: Path, other: Other
) -> None:
    path, number, host = tmp_path / "record.json", other.process.pid, platform.node()
    other.tell("take", path)
    said = rf"record\.json is in use: process {number} on {host}, since \d{{4}}-\d\d-\d\dT.*holds it.*wait until that"
    for _ in range(2):  # a failed attempt does not change the holder
        with pytest.raises(HeldByAnother, match=said):
            Hold.take(path)
    Hold.take(tmp_path / "another.json")
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(HeldByAnother):
        Hold.take(tmp_path / "link")

    other.tell("release", path)
    hold = Hold.take(path)
    assert hold.is_valid
    assert json.loads((tmp_path / ".record.json.lock").read_text())["process"] == os.getpid()


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    other = Other()
    other.tell("take", tmp_path / "record.json")
    other.kill()
    assert Hold.take(tmp_path / "record.json").is_valid


def test_a_lock_that_does_not_say_whose_it_is_is_another_process(tmp_path: Path, other: Other) -> None:
    other.tell("take", tmp_path / "record.json")
    for content in ("", "{", "[]", '{"process": 1}'):
        (tmp_path / ".record.json.lock").write_text(content)
        with pytest.raises(HeldByAnother, match="is in use: another process holds it"):
            Hold.take(tmp_path / "record.json")


def test_in_one_process_the_last_to_take_it_has_it(tmp_path: Path) -> None:
    first = Hold.take(tmp_path / "record.json")
    second = Hold.take(tmp_path / "record.json")
    assert (first.is_valid, second.is_valid) == (False, True)
    first.release()
    assert second.is_valid
    second.release()
    second.release()
    assert not second.is_valid
    assert Hold.take(tmp_path / "record.json").is_valid


def test_what_nobody_refers_to_is_held_no_more(tmp_path: Path, other: Other) -> None:
    hold = Hold.take(tmp_path / "record.json")
    del hold
    gc.collect()
    other.tell("take", tmp_path / "record.json")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are copies")
def test_a_copy_of_the_process_does_not_hold_it(tmp_path: Path) -> None:
    hold = Hold.take(tmp_path / "record.json")
    child = os.fork()
    if child == 0:
        try:
            refused = False
            try:
                Hold.take(tmp_path / "record.json")
            except HeldByAnother:
                refused = True
            os._exit(0 if refused and not hold.is_valid else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert hold.is_valid


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        CannotWrite, match=r"file/record\.json cannot be locked against other processes: .*another folder"
    ):
        Hold.take(tmp_path / "file" / "record.json")
