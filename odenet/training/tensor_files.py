"""Tensor files: named tensors in the format of safetensors, with text about them and a checksum of the whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

_CHECKSUM, _UNKNOWN = "odenet_sha256", "0" * 64
"""The entry of the header with the checksum, and what it was while that was taken: of all bytes of the file."""

_KIND = "odenet_file"
"""A second entry that files of other programs lack: where it is there, a checksum is too."""

_LENGTH = 8
"""Bytes before the header, which hold its own."""


class DamagedFile(ValueError):  # noqa: N818 (it names what is wrong)
    """Bytes that are no tensor file, or no longer the one that was written; the message is the reason alone."""


class TensorFile(NamedTuple):
    """What a tensor file holds."""

    tensors: dict[str, Tensor]
    about: dict[str, str]
    """Texts by name."""
    checked: bool
    """Whether there was a checksum, which then is right; files of other programs have none."""


def tensors_to_bytes(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> bytes:
    """The file: the same bytes for the same content.

    Args:
        tensors: By name; on any device, in any layout, also sharing memory.
        about: Texts by name.
    """
    from safetensors.torch import save

    # safetensors refuses tensors that share memory or are strided; copies are neither.
    plain = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()})
    header, data = _parted(plain)
    # Written here, for safetensors puts texts in an order that changes from call to call.
    texts = {"__metadata__": {_CHECKSUM: _UNKNOWN, _KIND: "odenet", "format": "pt", **about}}
    line = json.dumps(texts | json.loads(header), ensure_ascii=False, separators=(",", ":")).encode()
    line += b" " * (-len(line) % 8)  # so that the tensors are aligned
    content = len(line).to_bytes(_LENGTH, "little") + line + data
    return content.replace(_UNKNOWN.encode(), hashlib.sha256(content).hexdigest().encode(), 1)


def tensors_from_bytes(content: bytes) -> TensorFile:
    """What a file holds: one of `tensors_to_bytes`, to the last bit, or one of another program without a checksum.

    Raises:
        DamagedFile: It is none, or has changed.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(content)
        about = dict(json.loads(_parted(content)[0]).get("__metadata__", {}))
    except (SafetensorError, ValueError, TypeError, AttributeError) as error:
        raise DamagedFile(str(error)) from error
    checksum, own = about.pop(_CHECKSUM, None), about.pop(_KIND, None) is not None
    if checksum is not None and not _is_whole(content, checksum):
        raise DamagedFile("its checksum is not that of its content")
    if checksum is None and own:
        raise DamagedFile("it has lost its checksum")
    return TensorFile(tensors, about, checksum is not None)


def read_tensors(path: Path) -> TensorFile:
    """What the file at `path` holds.

    Raises:
        FileNotFoundError: There is none.
        DamagedFile: See `tensors_from_bytes`.
    """
    try:
        return tensors_from_bytes(path.read_bytes())
    except IsADirectoryError as error:
        raise DamagedFile("it is a folder") from error


def _is_whole(content: bytes, checksum: str) -> bool:
    before = content.replace(checksum.encode(), _UNKNOWN.encode(), 1)
    return len(checksum) == len(_UNKNOWN) and hashlib.sha256(before).hexdigest() == checksum


def _parted(content: bytes) -> tuple[bytes, bytes]:
    """Header and tensors."""
    end = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
    return content[_LENGTH:end], content[end:]
