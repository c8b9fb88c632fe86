"""Checkpoints: files from which an interrupted training resumes with the same results."""

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
"""Number of the format, raised whenever checkpoints of older code can no longer be read."""

_KIND = "odenet checkpoint"

_MARK = b"odenet sha256 "
"""Beginning of the comment of the zip archive that `torch.save` writes; the checksum of all bytes before it follows."""


class CheckpointError(ValueError):
    """Error for a checkpoint that cannot be read, or that another training wrote."""


class Checkpoint:
    """File with the last saved state of the training that `identity` describes.

    Args:
        path: Path of the file.
        identity: Description of the training as plain data, from `identity_of`. A state is returned only to the
            training that saved it.
        seconds: Time after which a new checkpoint is due.
    """

    def __init__(self, path: Path, identity: Plain, seconds: float) -> None:
        self.path, self.identity, self.seconds = path, identity, seconds
        self._written = time.monotonic()
        self._seen: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return f"the checkpoint {self.path}"

    @property
    def due(self) -> bool:
        """Whether the checkpoint was last read or written at least `seconds` ago."""
        return time.monotonic() - self._written >= self.seconds

    def write(self, state: dict[str, Any]) -> None:
        """Replace the file atomically, so that an interruption leaves either the old or the new checkpoint.

        Raises:
            CheckpointError: if another process has written the file since this object last read or wrote it.
            CannotWrite: if the disk is full, or the folder cannot be made or written.
        """
        if (there := stamp(self.path)) is not None and there != self._seen:
            raise CheckpointError(
                f"{self} was written by another training under way in the same folder: each would overwrite the "
                "other's checkpoint. Wait until that one ends, or choose another folder (--record for an experiment)."
            )
        buffer = io.BytesIO()
        torch.save({"kind": _KIND, "format": FORMAT, "identity": self.identity, "state": state}, buffer)
        write_atomically(self.path, _sealed(buffer.getvalue()), what="checkpoint")
        self._written, self._seen = time.monotonic(), stamp(self.path)

    def read(self) -> dict[str, Any] | None:
        """Return the state that was saved last, on the CPU; `None` if there is no file.

        Raises:
            CheckpointError: if the file is truncated, foreign or of another format, or belongs to another training.
        """
        self._seen = stamp(self.path)
        if not self.path.exists():
            return None
        content = self._content()
        try:
            lines = differences(self.identity, content["identity"])
        except RecursionError as error:
            raise self._unreadable("the description of its training is nested too deep") from error
        if lines:
            raise CheckpointError(
                f"{self} belongs to another training and cannot be continued by this one ({'; '.join(lines)}). "
                "Use the arguments that it was begun with (the network as it was before the first step: build it anew, "
                "under its seed), choose another folder (--record for an experiment), or delete it to begin anew."
            )
        return content["state"]

    def _content(self) -> dict[str, Any]:
        try:
            written = self.path.read_bytes()
            content = torch.load(io.BytesIO(written), map_location="cpu", weights_only=True)
        except UnpicklingError as error:  # the message of torch advises weights_only=False, which would run code
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
    """Append the checksum of the zip archive as its comment, which torch and unzip ignore."""
    comment_length = len(_MARK) + 2 * hashlib.sha256().digest_size
    content = archive[:-2] + comment_length.to_bytes(2, "little")
    return content + _MARK + hashlib.sha256(content).hexdigest().encode()


def _is_whole(written: bytes) -> bool:
    """Whether the bytes are exactly those that `_sealed` returned."""
    content = written[: -len(_MARK) - 2 * hashlib.sha256().digest_size]
    return written == content + _MARK + hashlib.sha256(content).hexdigest().encode()
