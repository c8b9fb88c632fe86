"""Slices of the work for a GPU, each of at most two minutes and with one record, in the order of their value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from experiments.support.slice_table import BENCHMARKS, EXPERIMENTS, IN_MINIATURE, LONGER, TESTS
from odenet.training import Record, RecordError, Run
from odenet.training.environment import code
from odenet.training.files import stamp

BEGINNING = 5.0
"""Seconds of a slice before its record begins: it reads data and starts the device."""

FOLDER = Path("runs/on_gpu")
"""Folder of the records of slices, until they are collected."""


@dataclass(frozen=True)
class Slice:
    """Slice of the work for a GPU: one command that leaves one record."""

    work: str
    """Name of the experiment, benchmark or mark of tests."""
    kind: Literal["tests", "experiment", "benchmark"]
    """Kind of work; estimates are scaled within a kind."""
    command: tuple[str, ...]
    """Module and arguments, as after `python -m`."""
    seconds: float
    """Expected seconds."""
    record: Path
    """File of its record."""
    rank: tuple[int, int] = (0, 0)
    """Rank of the work, then position of the seed: smaller ones run earlier."""
    collected: Path | None = None
    """File of the collected record that its results go to."""
    settings: Any = None
    """Settings of the experiment, with this seed alone."""

    @property
    def name(self) -> str:
        """Name of the slice in tables and messages."""
        seeds = getattr(self.settings, "seeds", None)
        return f"{self.kind} {self.work}" + (f", seed {seeds[0]}" if seeds else "")

    def watch(self) -> Callable[[], bool]:
        """Return a function that tells whether the record is finished, and reads the file only when it has changed."""
        seen: list[Any] = [None, False]

        def is_finished() -> bool:
            if (now := stamp(self.record)) is not None and now != seen[0]:
                seen[:] = now, _is_finished(self.record)
            return seen[1]

        return is_finished

    def as_measured(self, card: str | None) -> Slice:
        """Return the slice with the measured seconds of collected seeds on this card in place of the estimate.

        Args:
            card: Name of the GPU; with `None`, the estimate stays.
        """
        if card is None or self.kind != "experiment" or self.collected is None or not self.collected.exists():
            return self
        record = Record.load(self.collected)
        if any((session.get("machine") or {}).get("gpu") != card for session in record.sessions):
            return self
        return replace(self, seconds=record.seconds / len(record.settings.get("seeds", (0,))) + BEGINNING)

    def is_done(self) -> bool:
        """Whether a finished record of the same settings has the results of this slice.

        Raises:
            RecordError: if the file of the record has other settings, or is no record.
        """
        if self.kind == "experiment":
            return self._is_recorded(self.record) or (self.collected is not None and self._is_recorded(self.collected))
        paths = (self.record, self.collected) if self.kind == "benchmark" else (self.record,)
        return any(path is not None and path.exists() and Record.load(path).finished for path in paths)

    def _is_recorded(self, path: Path) -> bool:
        """Whether the record at `path`, of this seed or of several, is finished and has this seed."""
        if not path.exists():
            return False
        seeds = tuple(Record.load(path).settings.get("seeds", ()))
        own = getattr(self.settings, "seeds", ())
        settings = replace(self.settings, seeds=seeds) if own else self.settings
        found = Run.recorded(self.work, settings, path, preset=self.command[1])
        return found is not None and found.finished and set(own) <= set(seeds)


def slices(preset: str, device: str, records: Path = Path("records"), folder: Path = FOLDER) -> list[Slice]:
    """Return every slice, the most valuable one first.

    Args:
        preset: Preset of the experiments; with other presets than gpu and full, benchmarks take their quick form.
        device: cuda or cpu.
        records: Folder of the collected records.
        folder: Folder of the records of slices.
    """
    long = preset in ("gpu", "full")
    found = [_tests(mark, folder, records) for mark in TESTS]
    found += [part for name in EXPERIMENTS for part in _experiment(name, preset, records, folder)]
    found += [_benchmark(name, device, records, quick=not long) for name in BENCHMARKS if long or name == "networks"]
    found = found if long else [replace(part, seconds=IN_MINIATURE) for part in found]
    return sorted(found, key=lambda part: part.rank)


def _is_finished(path: Path) -> bool:
    try:
        return Record.load(path).finished
    except RecordError:
        return False


def _tests(mark: str, folder: Path, records: Path) -> Slice:
    rank, seconds = TESTS[mark]
    name = mark.replace(" ", "_")
    record = folder / "gpu_tests" / f"{name}-{code()[:12]}.json"  # tests are run again when the code has changed
    command = ("experiments.support.gpu_tests", mark, str(record))
    return Slice(mark, "tests", command, seconds, record, (rank, 0), records / "gpu_tests" / f"{name}.json")


def _benchmark(name: str, device: str, records: Path, *, quick: bool) -> Slice:
    rank, seconds = BENCHMARKS[name]
    file = f"{name}{'-quick' if quick else ''}-{device}.json"
    command = (f"benchmarks.{name}", *(["--quick"] if quick else []))
    place = Path("runs/benchmarks") / file, (rank, 0), records / "benchmarks" / file
    return Slice(name, "benchmark", command, seconds, *place)


def _experiment(name: str, preset: str, records: Path, folder: Path) -> list[Slice]:
    """Return a slice for each seed of an experiment, or one slice if it has no seeds."""
    script: Any = import_module(f"experiments.{name}")
    settings = script.PRESETS.get(preset)
    if settings is None:
        return []
    seconds = script.GPU_SECONDS * (LONGER if preset == "full" else 1)
    stem = "-".join([preset, *([settings.data] if hasattr(settings, "data") else [])])
    found = []
    for place, seed in enumerate(getattr(settings, "seeds", (None,))):
        part = stem if seed is None else f"{stem}-seed{seed}"
        record = folder / name / f"{part}.json"
        command = (f"experiments.{name}", preset, *(["--seeds", str(seed)] if seed is not None else []))
        own = settings if seed is None else replace(settings, seeds=(seed,))
        rank = EXPERIMENTS[name].other_seeds if place else EXPERIMENTS[name].first_seed
        whole = (record, (rank, place), records / name / f"{stem}.json", own)
        found.append(Slice(name, "experiment", (*command, "--record", str(record)), seconds, *whole))
    return found


def refusals(every: list[Slice]) -> list[str]:
    """Return a message for each slice whose file is a record of other settings or no record."""
    found = []
    for part in every:
        try:
            part.is_done()
        except RecordError as error:
            found.append(str(error))
    return list(dict.fromkeys(found))


def data_of(some: list[Slice]) -> set[str]:
    """Return the names of the data sets that slices use."""
    return {part.settings.data for part in some if hasattr(part.settings, "data")}
