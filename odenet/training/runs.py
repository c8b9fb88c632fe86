"""Runs: an experiment at work on its record, which goes on where it was interrupted and computes nothing twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import quote

from odenet.training.devices import is_main_process
from odenet.training.environment import commit, machine, versions
from odenet.training.plain_data import differences, from_plain, to_plain
from odenet.training.records import Record, RecordError


class Run:
    """A run of an experiment: a record that is written whenever a result is there.

    ```python
    run = Run.open("depth_refinement", settings, "runs/depth_refinement/cpu.json", preset="cpu")
    for seed in settings.seeds:
        run.once(f"seed {seed}", lambda: train(seed, run.folder(f"seed {seed}")))
    run.finish(**summary(run.record.results))
    ```

    Under torchrun every process runs the same script, and only the main one writes.

    Attributes:
        record: As it is so far.
        path: Of its file.
    """

    def __init__(self, record: Record, path: Path) -> None:
        self.record, self.path = record, path
        self._started = time.monotonic()

    @classmethod
    def open(cls, experiment: str, settings: object, path: str | PathLike[str], *, preset: str = "") -> Run:
        """The run with these settings whose record is at `path`: a new one, or the one that was interrupted there.

        A finished one is handed back with its results, and said to be so; nothing in it is computed again.

        Args:
            experiment: Its name.
            settings: A dataclass, or plain data.
            path: Of the record, a JSON file.
            preset: The preset that the settings started from.

        Raises:
            RecordError: A record of other settings is in the way, or a file that is no record.
            CannotWrite: The disk is full, or the folder cannot be made or written.
        """
        path = Path(path)
        # There and back, so that a setting is compared as it is read: a NaN or a tuple is what a record makes of it.
        new = Record(experiment, preset, from_plain(to_plain(settings, "settings")))
        run = cls(_record_there(path, new) or new, path)
        if run.finished:
            run._say_finished()
        else:
            run.record.sessions.append(_session())
            run._save()
        return run

    @property
    def finished(self) -> bool:
        """Whether nothing is left to compute."""
        return self.record.finished

    def once(self, key: str, compute: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The result `key` of the record; if it has none, what `compute` returns, once that is in the record.

        Args:
            key: The name of the result; one for each training or trial.
            compute: Returns plain data by name; NaN and infinities are allowed.

        Raises:
            RecordError: The run is finished, and has no such result.
            TypeError: The result is no plain data.
        """
        if key in self.record.results:
            return self.record.results[key]
        if self.finished:
            raise RecordError(
                f"the record {self.path} is finished and has no result {key!r} (it has "
                f"{', '.join(map(repr, self.record.results)) or 'none'}): the script has changed since; "
                "choose another path with --record, or delete the file to begin anew."
            )
        self.record.results[key] = from_plain(to_plain(compute(), f"result {key!r}"))
        self._save()
        return self.record.results[key]

    def folder(self, key: str) -> Path:
        """Where the checkpoint and weights of the result `key` go, beside the record; made when first written to."""
        # quote() keeps dots, so "." and ".." would be other folders.
        return self.path.with_suffix(".d") / quote(key, safe=" =,").replace(".", "%2E")

    def finish(self, **summary: Any) -> None:
        """Nothing is left to compute: the record gets its `summary` and is closed. Does nothing on a finished run."""
        if self.finished:
            return
        self.record.summary = from_plain(to_plain(summary, "summary"))
        self.record.finished = True
        self._save()

    def _save(self) -> None:
        self.record.sessions[-1]["seconds"] = round(time.monotonic() - self._started, 3)
        if is_main_process():
            self.record.save(self.path)

    def _say_finished(self) -> None:
        if is_main_process():
            begun, seconds = self.record.sessions[0]["started"], self.record.seconds
            print(
                f"{self.path} is finished (begun {begun}, {seconds:.0f} s) and is not run again. "
                "To run it anew, delete the file or choose another one with --record."
            )


def _record_there(path: Path, asked: Record) -> Record | None:
    """The record at `path`, if there is one and it is that of the run asked for."""
    if not path.exists():
        return None
    found = Record.load(path)
    if lines := differences(_identity(asked), _identity(found)):
        raise RecordError(
            f"the record {path} is that of another run ({'; '.join(lines)}) and is not overwritten: "
            "choose another path with --record, or delete the file if it is no longer wanted."
        )
    return found


def _identity(record: Record) -> dict[str, Any]:
    return {"experiment": record.experiment, "preset": record.preset, **to_plain(record.settings)}


def _session() -> dict[str, Any]:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return {"started": started, "seconds": 0.0, "commit": commit(), "versions": versions(), "machine": machine()}
