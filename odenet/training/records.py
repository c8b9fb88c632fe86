"""Records of experiments: JSON files with the settings and results of a run, from which figures are drawn."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any

from odenet.blocks.arguments import as_float, checked
from odenet.training.files import write_atomically
from odenet.training.json_data import from_json_data, to_json_data

FORMAT = 2
"""Number of the format, raised whenever older code cannot read new records. Since 2 there is a checksum."""

_KIND = "odenet record"

_UNKNOWN = "0" * 64
"""Placeholder of the checksum of all bytes of the file, while it is computed."""


class RecordError(ValueError):
    """Error for a record that cannot be read, or that another run wrote."""


@dataclass
class Record:
    """Settings and results of one run of an experiment.

    Attributes:
        experiment: Name of the experiment.
        preset: Preset that the settings started from; empty if none.
        settings: All settings, as plain data.
        results: Results by key, one entry for each training or trial.
        summary: Summary of the finished run.
        sessions: One entry for each process that computed a part of the run (an interrupted run has several):
            `started` (ISO 8601, UTC), `seconds`, `commit`, `code` (a fingerprint), `versions` and `machine`.
        made_from: Fingerprints, by name, of the inputs of the results: files that the settings name, data, and for each
            training its data, initial weights and trained weights; computed by `fingerprint`.
        finished: Whether all results are computed.
    """

    experiment: str
    preset: str
    settings: dict[str, Any]
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    made_from: dict[str, Any] = field(default_factory=dict)
    finished: bool = False

    @property
    def seconds(self) -> float:
        """Duration of all sessions together."""
        return sum(session["seconds"] for session in self.sessions)

    @property
    def commits(self) -> list[str]:
        """Commits of the sessions, without repetition; several if the code changed between sessions."""
        return list(dict.fromkeys(session["commit"] for session in self.sessions if session["commit"]))

    @classmethod
    @checked
    def load(cls, path: str | PathLike[str]) -> Record:
        """Read the record in the file at `path`.

        Raises:
            FileNotFoundError: if there is no such file.
            RecordError: if the file is truncated, damaged, foreign or of a newer format.
        """
        path = Path(path)
        content: dict[str, Any] = {"made_from": {}} | _content(path)  # records of format 1 lack it
        names = [entry.name for entry in fields(cls)]
        if lacking := [name for name in names if name not in content]:
            raise _unreadable(path, f"it lacks {', '.join(lacking)}")
        entries, kinds = {name: content[name] for name in names}, vars(cls("", "", {}))
        if odd := [name for name in names if type(entries[name]) is not type(kinds[name])]:
            raise _unreadable(
                path,
                f"its {odd[0]} must be of type {type(kinds[odd[0]]).__name__}, got {type(entries[odd[0]]).__name__}",
            )
        if fault := _fault_of_results(content["results"]) or _fault_of_sessions(content["sessions"]):
            raise _unreadable(path, fault)
        return cls(**entries)

    @checked
    def save(self, path: str | PathLike[str]) -> None:
        """Write the record to `path`, atomically; NaN is written as {"$float": "nan"}, and infinities likewise.

        Raises:
            CannotWrite: if the disk is full, or the folder cannot be made or written.
            TypeError: if a part of it is not plain data.
        """
        content = {"kind": _KIND, "format": FORMAT, "sha256": _UNKNOWN, **to_json_data(self, "record")}
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(Path(path), text.replace(_UNKNOWN, _checksum(text), 1).encode(), what="record")


def _content(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode()
        content = from_json_data(json.loads(text))
        if "\\u" in text:  # JSON can contain half a surrogate pair, which could not be written again
            json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, str(error)) from error
    if not isinstance(content, dict) or content.get("kind") != _KIND:
        raise _unreadable(path, "it is a file of another program")
    if type(content.get("format")) is not int or content["format"] not in range(1, FORMAT + 1):
        raise RecordError(
            f"the record {path} has format {content.get('format')}, and this version of odenet reads formats up to "
            f"{FORMAT}: use the version that wrote it, or choose another path."
        )
    if content["format"] > 1 and not _is_whole(text, content.get("sha256")):
        raise _unreadable(path, "its checksum is not that of its content: it was changed after it had been written")
    return content


def _fault_of_results(results: dict[str, Any]) -> str:
    """Return the reason why the results are invalid; empty if they are valid."""
    odd = [key for key, result in results.items() if not isinstance(result, dict)]
    return f"its result {odd[0]!r} must be a dictionary, got {results[odd[0]]!r:.50}" if odd else ""


def _fault_of_sessions(sessions: list[Any]) -> str:
    """Return the reason why the sessions are invalid; empty if they are valid."""
    for session in sessions:
        if not isinstance(session, dict):
            return f"a session must be a dictionary, got {session!r:.50}"
        if as_float(seconds := session.get("seconds")) is None:
            return f"the seconds of a session must be a number, got {seconds!r:.50}"
        if not isinstance(commit := session.get("commit"), str | None):
            return f"the commit of a session must be a string or None, got {commit!r:.50}"
    return ""


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _is_whole(text: str, checksum: object) -> bool:
    """Whether every byte is as it was written, except line endings, which git may have changed."""
    if not isinstance(checksum, str) or len(checksum) != len(_UNKNOWN):
        return False
    return _checksum(text.replace("\r\n", "\n").replace(checksum, _UNKNOWN, 1)) == checksum


def _unreadable(path: Path, reason: str) -> RecordError:
    return RecordError(
        f"the record {path} cannot be read ({reason}): it is truncated or damaged, or was not written by odenet. "
        "Choose another path with --record, or delete the file to begin anew."
    )
