"""Runs of experiments, which write their results to a record, resume after interruption and compute nothing twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self
from urllib.parse import quote

from torch import nn

from odenet.blocks.annotations import MayBeEmpty
from odenet.blocks.arguments import checked
from odenet.training.batches import BatchSource
from odenet.training.checkpoints import CheckpointError
from odenet.training.devices import is_main_process
from odenet.training.environment import code, commit, machine, versions
from odenet.training.files import stamp
from odenet.training.fingerprints import fingerprint
from odenet.training.history import History
from odenet.training.holds import HeldByAnother, Hold
from odenet.training.identity import weights_of
from odenet.training.json_data import differences, from_json_data, to_json_data
from odenet.training.loop import fit
from odenet.training.named_files import FILE, files_of
from odenet.training.records import Record, RecordError
from odenet.training.settings import Training
from odenet.training.tasks import Task


class Run:
    """Run of an experiment, which writes its record after every result.

    ```python
    run = Run.open("depth_refinement", settings, "runs/depth_refinement/cpu.json", preset="cpu")
    run.made_from("data", data)
    for seed in settings.seeds:
        net = network(seed)
        history = run.fit(f"seed {seed}", net, task, train, test, settings.training, seed=seed)
        run.once(f"seed {seed}", lambda: measured(net) | {"history": history.rows})
    run.finish(**summary(run.record.results))
    ```

    From `open` to `finish` or `close`, or in a `with` statement, the record is locked against other processes. Under
    torchrun every process runs the same script, and only the main process writes.

    Attributes:
        record: Record with the results so far.
        path: Path of the file of the record.
    """

    @checked
    def __init__(self, record: Record, path: Path) -> None:
        self.record, self.path = record, path
        self._hold: Hold | None = None
        self._started, self._seen = time.monotonic(), stamp(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the run; delete the record of a run that failed with invalid settings before its first result."""
        if isinstance(error, ValueError | TypeError) and self._is_untouched:
            self.path.unlink(missing_ok=True)
        self.close()

    @classmethod
    @checked
    def open(cls, experiment: str, settings: object, path: str | PathLike[str], *, preset: str = "") -> Self:
        """Open the run with these settings whose record is at `path`: a new run, or an interrupted one.

        A finished run is returned with its results, and a message says so; nothing is computed again.

        Args:
            experiment: Name of the experiment.
            settings: Dataclass, or plain data. Files that it names by a `Path` are compared by content too.
            path: Path of the record, a JSON file.
            preset: Preset that the settings started from.

        Raises:
            RecordError: if the file is no record of these settings and files, or another process holds it.
            CannotWrite: if the disk is full, or the folder cannot be made or written.
        """
        path = Path(path)
        new = _new_record(experiment, preset, settings)
        found = _record_there(path, new)
        if found is not None and found.finished:
            run = cls(found, path)
            run._report_finished()
            return run
        hold = _held(path) if is_main_process() else None
        run = cls(new, path)
        run._hold = hold
        run.record = _record_there(path, new) or new  # read again, now that no other process writes it
        if not run.finished:
            run.record.sessions.append(_session())
            run._save()
        return run

    @classmethod
    @checked
    def recorded(
        cls, experiment: str, settings: object, path: str | PathLike[str], *, preset: str = ""
    ) -> Record | None:
        """Return the record of the run that `open` would open with these arguments; `None` if there is no file.

        Raises:
            RecordError: if the file is no record, or the record of another run.
        """
        return _record_there(Path(path), _new_record(experiment, preset, settings))

    @property
    def finished(self) -> bool:
        """Whether all results are computed."""
        return self.record.finished

    @checked
    def once(self, key: str, compute: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Return the result `key` of the record; if there is none, compute it and write it to the record first.

        Args:
            key: Name of the result; each training or trial needs its own.
            compute: Function that returns plain data by name; NaN and infinities are allowed.

        Raises:
            RecordError: if the run is finished and has no such result.
            TypeError: if the result is not plain data.
        """
        if key in self.record.results:
            return self.record.results[key]
        if self.finished:
            raise RecordError(
                f"the record {self.path} is finished and has no result {key!r} (it has "
                f"{', '.join(map(repr, self.record.results)) or 'none'}): the script has changed since; "
                "choose another path with --record, or delete the file to begin anew."
            )
        self.record.results[key] = from_json_data(to_json_data(compute(), f"result {key!r}"))
        self._save()
        return self.record.results[key]

    @checked
    def made_from(self, name: str, content: object) -> None:
        """Write the fingerprint of an input of the results to the record, or compare it with the one that is there.

        Args:
            name: Name of the input.
            content: Input that `fingerprint` accepts, such as data, batches or weights.

        Raises:
            RecordError: if the record has another fingerprint of that name.
        """
        if is_main_process():
            self.note({name: fingerprint(content)})

    def fit(
        self,
        key: str,
        model: nn.Module,
        task: Task,
        train: BatchSource,
        test: BatchSource | None,
        settings: Training,
        *,
        seed: int,
        **options: Any,
    ) -> History:
        """Call `odenet.training.fit` with a checkpoint beside the record, which gets fingerprints of its inputs.

        The settings of the run are part of the identity of the training, so that no other experiment resumes it.

        Args:
            key: Name of the training; each needs its own.
            model: Network, trained in place.
            task: Task with the loss and metrics.
            train: Training batches.
            test: Test batches, or `None`.
            settings: Settings of the training.
            seed: Seed of the noise in the network.
            options: Further options of `fit`: `validation`, `optimizer`, `label`, `quiet`, `loggers`, `callbacks`.

        Raises:
            RecordError: if the record has other data or weights for this training.
        """
        context, folder = _context(self.record), self.folder(key)
        try:
            history = fit(model, task, train, test, settings, seed=seed, folder=folder, context=context, **options)
        except CheckpointError as error:
            raise CheckpointError(f"{error} All checkpoints of this record are in {folder.parent}.") from error
        if is_main_process():  # one process only, because the statistics of BatchNorm differ between processes
            parts = history.made_from | {"trained weights": fingerprint(weights_of(model))}
            self.note({f"{key}: {name}": value for name, value in parts.items()})
        return history

    @checked
    def folder(self, key: str) -> Path:
        """Return the folder for checkpoint and weights of the result `key`, beside the record; it need not exist."""
        # The whole name of the record is kept, because shift0.5 and shift0.7 would share a stem; dots of the key are
        # replaced, because quote() keeps them and ".." is another folder.
        return self.path.with_name(f"{self.path.name}.d") / quote(key, safe=" =,").replace(".", "%2E")

    def finish(self, **summary: Any) -> None:
        """Write `summary` to the record, mark it as finished and close the run; do nothing on a finished run."""
        if self.finished:
            return
        self.record.summary = from_json_data(to_json_data(summary, "summary"))
        self.record.finished = True
        self._save()
        self.close()

    def close(self) -> None:
        """Release the record for other processes; this run can no longer write it."""
        if self._hold is not None:
            self._hold.release()

    @property
    def _is_untouched(self) -> bool:
        """Whether this run holds the record, which has one session and no results."""
        begun = len(self.record.sessions) == 1 and not self.record.results and not self.finished
        return begun and self._hold is not None and self._hold.is_valid

    @checked
    def note(self, fingerprints: Annotated[Mapping[str, str | None], MayBeEmpty()]) -> None:
        """Write fingerprints of the inputs of the results to the record, by name.

        Raises:
            RecordError: if the record has other fingerprints of these names.
        """
        known = self.record.made_from
        for name, value in fingerprints.items():
            if known.get(name, value) != value:
                raise RecordError(
                    f"the record {self.path} was made from other content: {name} is {value} now, and was "
                    f"{known[name]}. Its results would be inconsistent: restore the former content, choose another "
                    f"path with --record, or delete it and {self.path.name}.d beside it."
                )
        if fingerprints.keys() - known.keys() and not self.finished:
            known.update(fingerprints)
            self._save()

    def _save(self) -> None:
        self.record.sessions[-1]["seconds"] = round(time.monotonic() - self._started, 3)
        if not is_main_process():
            return
        if self._hold is None or not self._hold.is_valid:
            raise RecordError(
                f"the record {self.path} is no longer this run's: it was closed, or opened again since by this process "
                "or its parent. Write through the run that was opened last."
            )
        if stamp(self.path) not in (None, self._seen):
            raise RecordError(
                f"the record {self.path} was written by another run under way, in spite of the lock beside it: each "
                "would overwrite the other's results. Wait until that one ends, or choose another path with --record."
            )
        self.record.save(self.path)
        self._seen = stamp(self.path)

    def _report_finished(self) -> None:
        if is_main_process():
            begun, seconds = self.record.sessions[0]["started"], self.record.seconds
            print(
                f"{self.path} is finished (begun {begun}, {seconds:.0f} s) and is not run again. "
                "To run it anew, delete the file or choose another one with --record."
            )


def _new_record(experiment: str, preset: str, settings: object) -> Record:
    """Make an empty record of these settings, with fingerprints of the files that they name."""
    # Converted to JSON and back, so that settings are compared as a record returns them, e.g. tuples as lists.
    return Record(experiment, preset, from_json_data(to_json_data(settings, "settings")), made_from=files_of(settings))


def _record_there(path: Path, asked: Record) -> Record | None:
    """Return the record at `path`; `None` if there is no file.

    Raises:
        RecordError: if the file is no record, or the record of another run than `asked`.
    """
    if not path.exists():
        return None
    found = Record.load(path)
    if lines := differences(_identity(asked), _identity(found)) + _other_files(asked, found):
        raise RecordError(
            f"the record {path} is that of another run ({'; '.join(lines)}) and is not overwritten: choose another "
            f"path with --record, or, if it is no longer wanted, delete it and {path.name}.d beside it."
        )
    return found


def _held(path: Path) -> Hold:
    try:
        return Hold.take(path)
    except HeldByAnother as error:
        raise RecordError(f"the record {error} Experiments take the path from --record.") from error


def _identity(record: Record) -> dict[str, Any]:
    return {"experiment": record.experiment, "preset": record.preset, **to_json_data(record.settings)}


def _context(record: Record) -> dict[str, Any]:
    return _identity(record) | {"files": {k: v for k, v in record.made_from.items() if k.startswith(FILE)}}


def _other_files(asked: Record, found: Record) -> list[str]:
    """Return a clause for each file of the settings with other content; records of format 1 lack fingerprints."""
    return [
        f"the {name} has other content" for name, value in asked.made_from.items() if found.made_from.get(name) != value
    ]


def _session() -> dict[str, Any]:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    made_by = {"commit": commit(), "code": code(), "versions": versions(), "machine": machine()}
    return {"started": started, "seconds": 0.0, **made_by}
