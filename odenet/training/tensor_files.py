"""Tensor files: named tensors in the format of safetensors, with metadata and a checksum of the whole file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from odenet.blocks.extras import Extra

_CHECKSUM, _UNKNOWN = "odenet_sha256", "0" * 64
"""Entry of the header with the checksum of all bytes of the file, and its placeholder while that is computed."""

_KIND = "odenet_file"
"""Entry of the header that only files of odenet have; a file with it must have a checksum."""

_LENGTH = 8
"""Number of bytes before the header, which hold its length."""


class DamagedFile(ValueError):  # noqa: N818 (named after what is wrong)
    """Error for bytes that are no tensor file, or have changed since they were written; the message is the reason."""


class TensorFile(NamedTuple):
    """Content of a tensor file: tensors, metadata, and whether the checksum was verified."""

    tensors: dict[str, Tensor]
    about: dict[str, str]
    """Metadata of the file: texts by name."""
    checked: bool
    """Whether the file has a checksum, which is then correct; files of other programs have none."""


def tensors_to_bytes(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> bytes:
    """Return the bytes of a tensor file, the same for the same content.

    Args:
        tensors: Tensors by name; on any device, in any layout, also sharing memory.
        about: Metadata of the file: texts by name.
    """
    with Extra("experiments"):
        from safetensors.torch import save

    # Copies, because safetensors refuses tensors that share memory or are strided.
    plain = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()})
    header, data = _parted(plain)
    # The header is written here, because safetensors orders texts differently from call to call.
    texts = {"__metadata__": {_CHECKSUM: _UNKNOWN, _KIND: "odenet", "format": "pt", **about}}
    line = json.dumps(texts | json.loads(header), ensure_ascii=False, separators=(",", ":")).encode()
    line += b" " * (-len(line) % 8)  # so that the tensors are aligned
    content = len(line).to_bytes(_LENGTH, "little") + line + data
    return content.replace(_UNKNOWN.encode(), hashlib.sha256(content).hexdigest().encode(), 1)


def tensors_from_bytes(content: bytes) -> TensorFile:
    """Read the bytes of a tensor file and verify its checksum, if it has one; files of other programs have none.

    Raises:
        DamagedFile: if it is no tensor file, or has changed.
    """
    with Extra("experiments"):
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
    """Read the tensor file at `path`.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedFile: if it is no tensor file, or has changed.
    """
    try:
        return tensors_from_bytes(path.read_bytes())
    except IsADirectoryError as error:
        raise DamagedFile("it is a folder") from error


def _is_whole(content: bytes, checksum: str) -> bool:
    before = content.replace(checksum.encode(), _UNKNOWN.encode(), 1)
    return len(checksum) == len(_UNKNOWN) and hashlib.sha256(before).hexdigest() == checksum


def _parted(content: bytes) -> tuple[bytes, bytes]:
    """Split the bytes of a file into header and tensors."""
    end = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
    return content[_LENGTH:end], content[end:]
