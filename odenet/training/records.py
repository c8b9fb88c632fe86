"""Records: what a run of an experiment leaves behind, one JSON file that says all that a figure needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any

from odenet.training.files import write_atomically
from odenet.training.plain_data import from_plain, to_plain

FORMAT = 1
"""Raised whenever records of the older code can no longer be read."""

_KIND = "odenet record"


class RecordError(ValueError):
    """A record that cannot be read, or that another run wrote."""


@dataclass
class Record:
    """The settings of one run of an experiment, and what came out.

    Attributes:
        experiment: Its name.
        preset: The preset that the settings started from; empty if none.
        settings: All settings, as plain data.
        results: What was computed, by key: one entry for each training or trial.
        summary: What the run says in the end.
        sessions: One entry for each process that worked at the run, an interrupted run having several: `started` (ISO
            8601, UTC), `seconds`, `commit`, `versions` and `machine`.
        finished: Whether nothing is left to compute.
    """

    experiment: str
    preset: str
    settings: dict[str, Any]
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    finished: bool = False

    @property
    def seconds(self) -> float:
        """Of all sessions together."""
        return sum(session["seconds"] for session in self.sessions)

    @property
    def commits(self) -> list[str]:
        """Those of its sessions, without repetition: more than one if the code changed under way."""
        return list(dict.fromkeys(session["commit"] for session in self.sessions if session["commit"]))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Record:
        """The record in the file at `path`.

        Raises:
            FileNotFoundError: There is no such file.
            RecordError: It is truncated, foreign or of another format.
        """
        path = Path(path)
        content = _content(path)
        if lacking := [entry.name for entry in fields(cls) if entry.name not in content]:
            raise _unreadable(path, f"it lacks {', '.join(lacking)}")
        return cls(**{entry.name: from_plain(content[entry.name]) for entry in fields(cls)})

    def save(self, path: str | PathLike[str]) -> None:
        """Write it to `path`, atomically. NaN and infinities are written as {"$float": "nan"}, and read back.

        Raises:
            CannotWrite: The disk is full, or the folder cannot be made or written.
            TypeError: It holds something that is no plain data.
        """
        content = {"kind": _KIND, "format": FORMAT, **to_plain(self, "record")}
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(Path(path), f"{text}\n".encode(), what="record")


def _content(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _unreadable(path, str(error)) from error
    if not isinstance(content, dict) or content.get("kind") != _KIND:
        raise _unreadable(path, "it is a file of another program")
    if content.get("format") != FORMAT:
        raise RecordError(
            f"the record {path} has format {content.get('format')}, and this version of odenet reads format {FORMAT}: "
            "use the version that wrote it, or choose another path."
        )
    return content


def _unreadable(path: Path, reason: str) -> RecordError:
    return RecordError(
        f"the record {path} cannot be read ({reason}): it is truncated, or was not written by odenet. "
        "Choose another path with --record, or delete the file to begin anew."
    )
