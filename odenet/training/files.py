"""Files that are either whole or not there, whenever the process is killed or the disk runs full."""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where an open file can be neither renamed nor removed
    fcntl = None

_PART = re.compile(r"\..*\.[0-9a-f]{16}\.part")
"""The names of temporary files: of the file to be, and 64 random bits."""

_ATTEMPTS = 3
"""How often a file is written whose temporary file somebody else removes under way."""

_ABANDONED_AFTER = 24 * 3600.0
"""Seconds without a change after which a temporary file has no writer, where locks cannot tell."""


class CannotWrite(OSError):  # noqa: N818 (it names what cannot be done)
    """A file could not be written; the one that it should have replaced is intact."""


def write_atomically(path: Path, content: bytes, what: str) -> None:
    """Replace the file at `path` by one that holds `content`, in one step; its folder is made if there is none.

    The bytes go to a temporary file in the same folder and from there to the disk (fsync) before the name changes
    hands, so at any moment a reader finds the old content or the new one, never a part. The temporary file has a
    random name, is locked while it is written, and is removed whatever goes wrong; if the process is killed, the next
    write into the folder removes it. Of a symbolic link, the file that it points to is replaced. On some network file
    systems the rename is not atomic.

    Args:
        path: Of the file.
        content: All of it.
        what: What the file is, for the message: "checkpoint", "record".

    Raises:
        CannotWrite: The disk is full, or the folder cannot be made or written.
    """
    target = Path(os.path.realpath(path))
    try:
        for attempt in range(1, _ATTEMPTS + 1):
            target.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(target.parent)
            try:
                _replace(target, content)
                break
            except FileNotFoundError:  # the temporary file was taken for abandoned before it was locked
                if attempt == _ATTEMPTS:
                    raise
        _sync_folder(target.parent)
    except OSError as error:
        raise CannotWrite(
            f"the {what} {path} cannot be written: {error.strerror or error}. Nothing that was there before is lost: "
            "free some space or choose another folder, and start the same command again."
        ) from error


def stamp(path: Path) -> tuple[int, ...] | None:
    """What tells the file at `path` from any that was written there before or will be; `None` if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _replace(target: Path, content: bytes) -> None:
    # Random, for processes of two containers have the same number; shortened, for names have at most 255 bytes.
    part = target.with_name(f".{target.name[:50]}.{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            _hold(file.fileno())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:  # while it is locked, so that nobody takes it for abandoned
                os.replace(part, target)  # noqa: PTH105  (the name by which POSIX promises atomicity)
        if fcntl is None:
            os.replace(part, target)  # noqa: PTH105
    except FileExistsError:  # another writer's
        raise
    except BaseException:  # KeyboardInterrupt too
        _remove(part)
        raise


def _hold(descriptor: int) -> None:
    """Lock a temporary file for as long as it is open.

    Raises:
        FileNotFoundError: Somebody has removed it before.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # a file system without locks, where the age of a file decides
        return
    if os.fstat(descriptor).st_nlink == 0:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _remove_abandoned(folder: Path) -> None:
    """Remove temporary files that a killed process has left."""
    with os.scandir(folder) as entries:
        parts = [Path(entry) for entry in entries if _PART.fullmatch(entry.name)]
    for part in parts:
        try:
            descriptor = os.open(part, os.O_RDWR)
        except OSError:  # finished meanwhile, or somebody else's
            continue
        try:
            abandoned = _is_abandoned(descriptor)
            if abandoned and fcntl is not None:  # while it is locked: its writer may be about to lock it
                _remove(part)
        finally:
            os.close(descriptor)
        if abandoned and fcntl is None:
            _remove(part)


def _is_abandoned(descriptor: int) -> bool:
    """Whether nobody holds the temporary file; where it can be locked, it is so afterwards."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        except OSError:
            pass
    return time.time() - os.fstat(descriptor).st_mtime > _ABANDONED_AFTER


def _sync_folder(folder: Path) -> None:
    """Bring the new name to the disk too; where folders cannot be opened (Windows), the system sees to it."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # e.g. its "folder" is a file: there is nothing to remove, and the first error is the one to tell
        return
