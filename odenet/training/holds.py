"""Exclusive locks on files: one process at a time may write a file, and another one is told which process it is."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from odenet.blocks.extras import Extra
from odenet.training.files import CannotWrite

_HELD: WeakValueDictionary[str, Hold] = WeakValueDictionary()
"""Holds of this process, by the path of the file."""


class HeldByAnother(ValueError):  # noqa: N818 (it names what is the case)
    """Error for a file that another process holds; the message says which process, where and since when."""


class Hold:
    """Exclusive right of this process to write a file, from `take` to `release` or the end of the process.

    Within a process, taking the hold again invalidates the former one, so that a cell of a notebook can be run twice.
    When a process is killed, the system ends its hold. The lock file `.NAME.lock` lies beside the file and is never
    removed, because another process may be about to lock it.
    """

    def __init__(self, path: Path, lock: Any) -> None:
        self.path, self._lock, self._process = path, lock, os.getpid()

    @classmethod
    def take(cls, path: Path) -> Hold:
        """Hold the file at `path`, which need not exist.

        Raises:
            HeldByAnother: if another process holds it.
            CannotWrite: if its folder cannot be made or written.
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
        """Whether this process still holds the file; false in a forked child."""
        return self._lock is not None and self._process == os.getpid()

    def release(self) -> None:
        """Release the file for other processes."""
        if self._lock is not None and self.is_valid:
            self._lock.release()
            self._lock = None


def _locked(real: Path, path: Path) -> Any:
    """Take the lock of a file and return it."""
    with Extra("experiments"):
        from filelock import FileLock, Timeout

    name = real.with_name(f".{real.name}.lock")
    before = _holder(name)  # read first, because some versions of filelock empty the file when they fail
    try:
        name.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(name, thread_local=False)
        lock.acquire(timeout=0)
        name.write_text(json.dumps(_self()))
    except Timeout as error:
        holder = _holder(name) or before or "another process"
        raise HeldByAnother(
            f"{path} is in use: {holder} holds it. Two processes would overwrite each other's results: wait until "
            "that one ends, or choose another path."
        ) from error
    except OSError as error:
        raise CannotWrite(
            f"{path} cannot be locked against other processes: {error.strerror or error} ('{name.name}'). Nothing that "
            "was there before is lost: choose another folder, and start the same command again."
        ) from error
    return lock


def _self() -> dict[str, str | int]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"process": os.getpid(), "host": platform.node(), "since": now}


def _holder(name: Path) -> str | None:
    """Describe the process that last wrote the lock; `None` if the lock does not say."""
    try:
        said = json.loads(name.read_text())
        return f"process {said['process']} on {said['host']}, since {said['since']},"
    except (OSError, ValueError, TypeError, KeyError):
        return None
