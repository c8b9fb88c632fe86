"""Atomic writing of files: a file is complete or unchanged, even if the process is killed or the disk is full."""

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
"""Pattern of the names of temporary files: name of the final file, and 64 random bits."""

_ATTEMPTS = 3
"""Number of attempts to write a file whose temporary file another process removes."""

_ABANDONED_AFTER = 24 * 3600.0
"""Age in seconds from which a temporary file is abandoned, on file systems without locks."""


class CannotWrite(OSError):  # noqa: N818 (it names what cannot be done)
    """Error for a file that could not be written; the file that it would have replaced is intact."""


def write_atomically(path: Path, content: bytes, what: str) -> None:
    """Write `content` to the file at `path` atomically; create its folder if necessary.

    The bytes are written to a temporary file in the same folder, flushed to the disk (fsync) and renamed, so that a
    reader always finds either the old or the new content. The temporary file has a random name, is locked while it is
    written, and is removed after any error; if the process is killed, the next write into the folder removes it. For a
    symbolic link, the file that it points to is replaced. On some network file systems the rename is not atomic.

    Args:
        path: Path of the file.
        content: Complete content of the file.
        what: Kind of the file, for the message: "checkpoint", "record".

    Raises:
        CannotWrite: if the disk is full, or the folder cannot be made or written.
    """
    target = Path(os.path.realpath(path))
    try:
        for attempt in range(1, _ATTEMPTS + 1):
            target.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(target.parent)
            try:
                _replace(target, content)
                break
            except FileNotFoundError:  # another process removed the temporary file as abandoned before it was locked
                if attempt == _ATTEMPTS:
                    raise
        _sync_folder(target.parent)
    except OSError as error:
        raise CannotWrite(
            f"the {what} {path} cannot be written: {error.strerror or error}. Nothing that was there before is lost: "
            "free some space or choose another folder, and start the same command again."
        ) from error


def stamp(path: Path) -> tuple[int, ...] | None:
    """Return inode, size and time of the file at `path`, which change with every write; `None` if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _replace(target: Path, content: bytes) -> None:
    # The name is random, because processes of two containers can have the same number, and shortened, because names
    # have at most 255 bytes.
    part = target.with_name(f".{target.name[:50]}.{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            _lock(file.fileno())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:  # renamed while it is locked, so that no process takes it for abandoned
                os.replace(part, target)  # noqa: PTH105  (os.replace is the documented atomic rename)
        if fcntl is None:
            os.replace(part, target)  # noqa: PTH105
    except FileExistsError:  # the temporary file of another writer
        raise
    except BaseException:  # including KeyboardInterrupt
        _remove(part)
        raise


def _lock(descriptor: int) -> None:
    """Lock a temporary file until it is closed.

    Raises:
        FileNotFoundError: if another process has removed it before.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # on a file system without locks, the age of the file decides
        return
    if os.fstat(descriptor).st_nlink == 0:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of killed processes."""
    with os.scandir(folder) as entries:
        parts = [Path(entry) for entry in entries if _PART.fullmatch(entry.name)]
    for part in parts:
        try:
            descriptor = os.open(part, os.O_RDWR)
        except OSError:  # finished meanwhile, or without permission
            continue
        try:
            abandoned = _is_abandoned(descriptor)
            if abandoned and fcntl is not None:  # while it is locked, because its writer may be about to lock it
                _remove(part)
        finally:
            os.close(descriptor)
        if abandoned and fcntl is None:
            _remove(part)


def _is_abandoned(descriptor: int) -> bool:
    """Whether no process holds the temporary file; it is then locked by this one, where locks exist."""
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
    """Flush the new name to the disk; on Windows, where folders cannot be opened, the system does it."""
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
    except OSError:  # e.g. its "folder" is a file: nothing is to be removed, and the first error is reported
        return
