"""Files that are either whole or not there, whenever the process is killed or the disk runs full."""

from __future__ import annotations

import os
from pathlib import Path


class CannotWrite(OSError):  # noqa: N818 (it names what cannot be done)
    """A file could not be written; the one that it should have replaced is intact."""


def write_atomically(path: Path, content: bytes, what: str) -> None:
    """Replace the file at `path` by one that holds `content`, in one step; its folder is made if there is none.

    The bytes go to a temporary file in the same folder and from there to the disk (fsync) before the name changes
    hands, so at any moment a reader finds the old content or the new one, never a part. On some network file systems
    the rename is not atomic.

    Args:
        path: Of the file.
        content: All of it.
        what: What the file is, for the message: "checkpoint", "record".

    Raises:
        CannotWrite: The disk is full, or the folder cannot be made or written.
    """
    # With the process in its name: two runs that write to one path by mistake do not mix their bytes.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_through(part, content)
        os.replace(part, path)  # noqa: PTH105  (the name by which POSIX promises atomicity)
        _sync_folder(path.parent)
    except OSError as error:
        _remove(part)
        raise CannotWrite(
            f"the {what} {path} cannot be written: {error.strerror or error}. Nothing that was there before is lost: "
            "free some space or choose another folder, and start the same command again."
        ) from error


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


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
