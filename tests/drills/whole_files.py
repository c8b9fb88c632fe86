"""Whether every file in a folder is whole, read as the project reads it, and how far it has come."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from odenet.training import Record
from odenet.training.checkpoints import Checkpoint
from odenet.training.tensor_files import read_tensors

PASSED_OVER = re.compile(r"\..*\.(part|lock)|\.said")
"""Temporary files, locks, and what the killed program printed."""


def files(folder: Path) -> list[Path]:
    """Those that are results."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not PASSED_OVER.fullmatch(path.name))


def left_over(folder: Path) -> list[Path]:
    """Temporary files."""
    return sorted(folder.rglob(".*.part"))


def torn(folder: Path) -> list[str]:
    """What is wrong with files of which not all is there."""
    return [f"{path}: {fault}" for path in files(folder) if (fault := _fault(path))]


def progress(folder: Path) -> dict[str, Any]:
    """What must not be lost: the results in each record, and how far each checkpoint is."""
    found: dict[str, Any] = {}
    for path in files(folder):
        if path.suffix == ".json":
            found |= {f"{path}: {key}": result for key, result in Record.load(path).results.items()}
        if path.suffix == ".pt":
            state = _state(path)
            found[str(path)] = [state["epoch"], state["step"]]
    return found


def lost(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What was there before and is gone, is another, or is less far."""
    gone = [name for name in before if name not in after]
    kept = [name for name in before if name in after]
    fewer = [name for name in kept if isinstance(before[name], list) and after[name] < before[name]]
    return gone + fewer + [name for name in kept if isinstance(before[name], dict) and after[name] != before[name]]


def _state(path: Path) -> dict[str, Any]:
    identity = torch.load(path, weights_only=True)["identity"]
    state = Checkpoint(path, identity, seconds=0).read()
    assert state is not None
    return state


def _fault(path: Path) -> str:
    reading = {
        ".json": Record.load,
        ".pt": _state,
        ".safetensors": read_tensors,
        ".png": _read_image,
        ".pdf": _read_pdf,
    }
    try:
        reading[path.suffix](path)
    except Exception as error:
        return repr(error)
    return ""


def _read_image(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def _read_pdf(path: Path) -> None:
    """Raise unless it begins and ends as a PDF does, and its table of contents lies where the end says."""
    content = path.read_bytes()
    end = re.search(rb"startxref\s+(\d+)\s+%%EOF\s*\Z", content)
    if not content.startswith(b"%PDF") or end is None or content[int(end[1]) :][:4] != b"xref":
        raise ValueError("not all of a PDF")
