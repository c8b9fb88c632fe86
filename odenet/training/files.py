"""Files that are either the old ones or the new ones, never half of each, whenever the process or the machine stops."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a temporary file beside `path`, force it to the disk, and rename it to `path`.

    Args:
        path: where the file will be; missing folders are made.
        write: writes the content to the open binary file.

    Raises:
        OSError: the folder cannot be made or written, or the disk is full; the file that was at `path` is untouched.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise type(error)(
            error.errno,
            f"{path} could not be written ({error.strerror or error}); what was there before is untouched: make "
            "room, or choose another folder (--record)",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
