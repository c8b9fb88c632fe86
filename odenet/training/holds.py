"""Holds: a file that a process works at belongs to it until it ends; who comes second is told who was first."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from odenet.training.files import CannotWrite

_HELD: WeakValueDictionary[str, Hold] = WeakValueDictionary()
"""Those of this process, by the path of the file."""


class HeldByAnother(ValueError):  # noqa: N818 (it names what is the case)
    """Another process works at the file; the message says which, where and since when."""


class Hold:
    """The right of this process to write a file, from `take` to `release`, or to the end of the process.

    Within a process the last one to take it has it, and the one before has lost it: a cell of a notebook may be run
    again. When a process is killed, the system ends its hold. The lock lies beside the file, as `.NAME.lock`, and stays
    there, empty of meaning, for it cannot be removed while somebody else may be about to take it.
    """

    def __init__(self, path: Path, lock: Any) -> None:
        self.path, self._lock, self._process = path, lock, os.getpid()

    @classmethod
    def take(cls, path: Path) -> Hold:
        """Hold the file at `path`, which need not be there.

        Raises:
            HeldByAnother: Another process holds it.
            CannotWrite: Its folder cannot be made or written.
        """
        real = os.path.realpath(path)
        former = _HELD.get(real)
        if former is not None and former.is_valid:
            hold = cls(path, former._lock)
            former._lock = None
        else:
            hold = cls(path, _locked(Path(real), path))
        _HELD[real] = hold
        return hold

    @property
    def is_valid(self) -> bool:
        """Whether this process still has it, and no child of it asks."""
        return self._lock is not None and self._process == os.getpid()

    def release(self) -> None:
        """Let others work at the file."""
        if self._lock is not None and self.is_valid:
            self._lock.release()
            self._lock = None


def _locked(real: Path, path: Path) -> Any:
    """The lock of a file, taken."""
    from filelock import FileLock, Timeout

    name = real.with_name(f".{real.name}.lock")
    before = _holder(name)  # some versions of filelock empty the file when they fail
    try:
        name.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(name, thread_local=False)
        lock.acquire(timeout=0)
        name.write_text(json.dumps(_self()))
    except Timeout as error:
        holder = _holder(name) or before or "another process"
        raise HeldByAnother(
            f"{path} is in work: {holder} holds it. Two would overwrite each other's results: wait until that one "
            "ends, or choose another path."
        ) from error
    except OSError as error:
        raise CannotWrite(
            f"{path} cannot be held against other processes: {error.strerror or error} ('{name.name}'). Nothing that "
            "was there before is lost: choose another folder, and start the same command again."
        ) from error
    return lock


def _self() -> dict[str, str | int]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"process": os.getpid(), "host": platform.node(), "since": now}


def _holder(name: Path) -> str | None:
    """Who wrote the lock last, in words; `None` if it does not say."""
    try:
        said = json.loads(name.read_text())
        return f"process {said['process']} on {said['host']}, since {said['since']},"
    except (OSError, ValueError, TypeError, KeyError):
        return None
