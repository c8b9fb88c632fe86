"""Records: what a run of an experiment leaves behind, one JSON file with settings, results, versions and device.

A record grows while the run goes on, a result at a time, and each time the file is replaced atomically. Started again,
a run takes finished results from its record and computes the rest; a finished run is not computed again.
"""

from __future__ import annotations

import json
import math
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import odenet
from odenet.training.files import write_atomically

FORMAT = 1
"""Version of the record's layout."""

Result = dict[str, Any]


@dataclass
class Record:
    """The record of one run.

    Attributes:
        experiment: name of the script.
        settings: as plain data.
        results: by key, e.g. "seed0/level2".
        summary: what the run concluded, empty until it is finished.
        versions: of Python and packages.
        device: on which the run was started.
        commits: of the code, in the order in which they worked on this record.
        seconds: of all processes that worked on it.
        finished: whether it is complete.
    """

    experiment: str
    settings: Result
    results: dict[str, Result] = field(default_factory=dict)
    summary: Result = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    seconds: float = 0.0
    finished: bool = False
    format: int = FORMAT

    @classmethod
    def load(cls, path: Path) -> Record:
        """The record at `path`.

        Raises:
            FileNotFoundError: there is none.
            ValueError: the file is truncated, no record, or of a newer format.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            record = cls(**content)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path} is not a record of odenet ({error}); name another file (--record), or move this one away."
            ) from error
        if record.format > FORMAT:
            raise ValueError(f"{path} has format {record.format}, newer than this version's {FORMAT}: update odenet.")
        return record

    def save(self, path: Path) -> None:
        """Write the record to `path` atomically; the same record gives the same bytes.

        Raises:
            ValueError: a NaN or infinity among the numbers; JSON has none, and a result should not either.
        """
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(path, lambda file: file.write(f"{text}\n".encode()))


class Run:
    """A run of an experiment at work on its record.

    Args:
        experiment: name of the script.
        settings: a dataclass; a record of other settings in the way is refused.
        path: of the record, `….json`. Checkpoints and weights go to a folder beside it, `….d/`.

    Raises:
        ValueError: the file at `path` is no record, or one of another experiment or other settings.
    """

    def __init__(self, experiment: str, settings: Any, path: Path) -> None:
        self.path = path
        self.started = time.monotonic()
        plain = _plain(settings)
        self.record = Record.load(path) if path.exists() else Record(experiment, plain)
        _require_same(self.record, experiment, plain, path)
        self.seconds_before = self.record.seconds
        if not self.finished:
            self.record.versions, self.record.device = _versions(), _device()
            self.record.commits = list(dict.fromkeys([*self.record.commits, *_commit()]))

    @property
    def finished(self) -> bool:
        """Whether the record is complete, so that nothing is left to compute."""
        return self.record.finished

    def once(self, key: str, compute: Callable[[], Result]) -> Result:
        """The result called `key`: from the record, or computed now and recorded."""
        if key not in self.record.results:
            self.record.results[key] = _plain(compute())
            self._save()
        return self.record.results[key]

    def folder(self, key: str) -> Path:
        """Where the trial called `key` keeps its checkpoint and weights; not made until something is written."""
        return self.path.with_suffix(".d") / key

    def finish(self, **summary: Any) -> None:
        """The run is complete and concludes this."""
        self.record.summary, self.record.finished = _plain(summary), True
        self._save()

    def _save(self) -> None:
        if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank():
            return
        self.record.seconds = round(self.seconds_before + time.monotonic() - self.started, 1)
        self.record.save(self.path)


def _plain(value: Any) -> Any:
    """As JSON will give it back: tuples as lists, paths as strings, dataclasses as dictionaries."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a result is {value}; a record holds finite numbers: leave it out, or say what happened.")
    return str(value) if isinstance(value, Path) else value


def _require_same(record: Record, experiment: str, settings: Result, path: Path) -> None:
    if record.experiment != experiment:
        raise ValueError(f"{path} is a record of {record.experiment}, not of {experiment}: choose another --record.")
    found, asked = _flat(record.settings), _flat(settings)
    differing = [name for name in {**found, **asked} if found.get(name) != asked.get(name)]
    if differing:
        which = "; ".join(f"{name}: {found.get(name)!r} there, {asked.get(name)!r} asked for" for name in differing)
        raise ValueError(
            f"{path} is a record of other settings ({which}); it would be lost: choose another file with --record, or "
            "delete this one."
        )


def _flat(settings: Result, prefix: str = "") -> Result:
    flat: Result = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "odenet": odenet.__version__}
    for package in ("torch", "torchvision", "torchdiffeq", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _device() -> dict[str, Any]:
    if torch.cuda.is_available():
        return {"kind": "cuda", "name": torch.cuda.get_device_name(), "count": torch.cuda.device_count()}
    return {"kind": "cpu", "name": _processor(), "threads": torch.get_num_threads()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> list[str]:
    """The commit of the code, with "+changes" where the tree differs from it; nothing outside a checkout."""
    try:
        changed = _git("status", "--porcelain", "--untracked-files=no")
        return [_git("rev-parse", "HEAD") + ("+changes" if changed else "")]
    except (OSError, subprocess.CalledProcessError):
        return []


def _git(*arguments: str) -> str:
    here = Path(odenet.__file__).parent
    return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True).stdout.strip()
