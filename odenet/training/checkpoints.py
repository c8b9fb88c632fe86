"""Checkpoints: files from which a killed training goes on as if nothing had happened."""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from odenet.training.files import stamp, write_atomically
from odenet.training.json_data import Plain, differences

FORMAT = 2
"""Raised whenever a checkpoint of the older code can no longer be read."""

_KIND = "odenet checkpoint"

_MARK = b"odenet sha256 "
"""What the comment of the zip archive, which a file of torch is, begins with; the checksum of all before it follows."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or that another training wrote."""


class Checkpoint:
    """The file at `path` that holds the last saved state of the training that `identity` describes.

    Args:
        path: Of the file.
        identity: Plain data: what `identity_of` says. A state is handed back only to the training that saved it.
        seconds: After how long a new one is due.
    """

    def __init__(self, path: Path, identity: Plain, seconds: float) -> None:
        self.path, self.identity, self.seconds = path, identity, seconds
        self._written = time.monotonic()
        self._seen: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return f"the checkpoint {self.path}"

    @property
    def due(self) -> bool:
        """Whether the last one was read or written so long ago that a kill would cost too much."""
        return time.monotonic() - self._written >= self.seconds

    def write(self, state: dict[str, Any]) -> None:
        """Replace the file, in one step: a kill leaves the old one or the new one.

        Raises:
            CheckpointError: Somebody else has written it since it was last read or written here.
            CannotWrite: The disk is full, or the folder cannot be made or written.
        """
        if (there := stamp(self.path)) is not None and there != self._seen:
            raise CheckpointError(
                f"{self} was written by another training under way in the same folder: each would overwrite what the "
                "other goes on from. Wait until that one ends, or choose another folder (--record for an experiment)."
            )
        buffer = io.BytesIO()
        torch.save({"kind": _KIND, "format": FORMAT, "identity": self.identity, "state": state}, buffer)
        write_atomically(self.path, _sealed(buffer.getvalue()), what="checkpoint")
        self._written, self._seen = time.monotonic(), stamp(self.path)

    def read(self) -> dict[str, Any] | None:
        """The state saved last, on the CPU; `None` if there is no file.

        Raises:
            CheckpointError: The file is truncated, foreign or of a newer format, or is that of another training.
        """
        self._seen = stamp(self.path)
        if not self.path.exists():
            return None
        content = self._content()
        try:
            lines = differences(self.identity, content["identity"])
        except RecursionError as error:
            raise self._unreadable("what it says of its training is nested without end") from error
        if lines:
            raise CheckpointError(
                f"{self} belongs to another training and cannot be continued by this one ({'; '.join(lines)}). "
                "Ask for what it was begun with (a network as it was before the first step: build it anew, under its "
                "seed), choose another folder (--record for an experiment), or delete it to begin anew."
            )
        return content["state"]

    def _content(self) -> dict[str, Any]:
        try:
            written = self.path.read_bytes()
            content = torch.load(io.BytesIO(written), map_location="cpu", weights_only=True)
        except UnpicklingError as error:  # torch advises here to switch off what keeps a file from running code
            raise self._unreadable("it holds more than plain data and tensors") from error
        except Exception as error:  # torch, zipfile and pickle raise a dozen types for bytes that are no checkpoint
            reason = str(error).partition("\n")[0]
            raise self._unreadable(f"{type(error).__name__}: {reason}") from error
        if not isinstance(content, dict) or content.get("kind") != _KIND or "format" not in content:
            raise self._unreadable("it is a file of another program")
        if content["format"] != FORMAT:
            raise CheckpointError(
                f"{self} has format {content['format']}, and this version of odenet reads format {FORMAT}: "
                "continue with the version that wrote it, choose another folder, or delete it to begin anew."
            )
        if not _is_whole(written) or not {"identity", "state"} <= content.keys():
            raise self._unreadable("its checksum is not that of its content")
        return content

    def _unreadable(self, reason: str) -> CheckpointError:
        return CheckpointError(
            f"{self} cannot be read ({reason}): it is truncated or damaged, or was not written by odenet. "
            "Delete it to begin this training anew, or choose another folder."
        )


def _sealed(archive: bytes) -> bytes:
    """The zip archive with the checksum of its content as its comment, which torch and unzip pass over."""
    comment_length = len(_MARK) + 2 * hashlib.sha256().digest_size
    content = archive[:-2] + comment_length.to_bytes(2, "little")
    return content + _MARK + hashlib.sha256(content).hexdigest().encode()


def _is_whole(written: bytes) -> bool:
    """Whether it is what `_sealed` returned, to the last bit."""
    content = written[: -len(_MARK) - 2 * hashlib.sha256().digest_size]
    return written == content + _MARK + hashlib.sha256(content).hexdigest().encode()
