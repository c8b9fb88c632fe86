"""Command line of an experiment: `python -m experiments.NAME PRESET [--settings …] [--record FILE] [--jobs N]`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NoReturn, Protocol, TypeVar, get_args, runtime_checkable

from experiments.support.endings import ends_in_a_line
from experiments.support.invocation import as_invoked
from experiments.support.logs import LogName, log_folder
from experiments.support.parsing import parse
from experiments.support.parts import PartedRun, number_of_jobs
from experiments.support.tables import print_table
from odenet.blocks.extras import Extra
from odenet.data import ImageData, load
from odenet.training import Record, Training, is_main_process
from odenet.training.checked import Checked, Different, Within

with Extra("experiments"):
    import tyro

Seeds = Annotated[tuple[int, ...], Within(0, 2**32 - 1), Different()]
"""Seeds of the repetitions."""


@runtime_checkable
class HasData(Protocol):
    """Settings of an experiment on a data set."""

    @property
    def data(self) -> str:
        """Name of the data set."""
        ...


@dataclass(frozen=True)
class Settings(Checked):
    """Settings that every experiment on labelled images has."""

    data: str = "fashion-mnist"
    """Data set: digits, mnist, fashion-mnist, cifar10, cifar100, scenes, garments."""
    train_images: int | None = None
    """Number of training images to use, equally many of each class; None uses all but those for validation."""
    validation_share: Annotated[float, Within(0, 1)] = 1 / 12
    """Share of the training images for validation, on which settings are chosen (Fashion-MNIST: 5,000); 0 for none."""
    seeds: Seeds = (0, 1, 2)
    """Seeds of the repetitions: of the initial weights, the order of images and the augmentation."""
    augment: bool = True
    """Whether to shift (and flip) training images, as is usual for the data set."""
    training: Training = field(default_factory=Training)
    """Settings of the training of each network."""


S = TypeVar("S")
T = TypeVar("T", bound=Settings)


@dataclass(frozen=True)
class Experiment(Generic[S]):
    """An experiment: its settings by preset, and the function that computes its results."""

    name: str
    """Name of the script in experiments/."""
    presets: Mapping[str, S]
    """Settings of each preset by its name, as frozen dataclasses."""
    work: Callable[[S, Path | None, PartedRun], None]
    """Function of the settings, the folder of the data sets (None for the default) and the run. It computes results
    through `Run.once` and concludes with `Run.finish(table=rows, …)`."""
    parted: bool = False
    """Whether `work` computes its results through `run.each`; the command line then has the option `--jobs`."""

    def run(
        self,
        settings: S,
        path: Path,
        *,
        preset: str,
        root: Path | None = None,
        jobs: int = 1,
        log: tuple[LogName, ...] = (),
    ) -> Record:
        """Run the experiment, or continue an interrupted run, and print the table of its record.

        Args:
            settings: Settings of the run.
            path: File of the record.
            preset: Name of the preset that the settings started from.
            root: Folder of the data sets; by default that of ODENET_DATA, or data/.
            jobs: Number of parts of the run that are computed at a time.
            log: Names of the logs that each training leaves beside the record.
        """
        with PartedRun.open(self.name, settings, path, preset=preset) as run:
            run.jobs, run.log = jobs, log
            if not run.finished:
                self.work(settings, root, run)
        if is_main_process():
            print_table(self.name.replace("_", " "), run.record.summary.get("table", []))
            print(f"record: {path}")
            if log and log_folder(path).exists():
                print(f"logs: {log_folder(path)}")
        return run.record

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Parse the command line, and run or continue the experiment.

        The record is written to `runs/EXPERIMENT/PRESET-DATA.json`, or `PRESET.json` if the settings name no `data`,
        unless `--record` names another file. Data are looked for in `--data-root`, then in the environment variable
        ODENET_DATA, then in `data/`.

        Args:
            arguments: Preset and settings; by default the arguments of the process.
        """
        given = list(sys.argv[1:] if arguments is None else arguments)
        preset, *rest = given or ["--help"]
        if preset not in self.presets:
            _explain(self.name, self.presets, preset)
        with ends_in_a_line(f"experiments.{self.name}", given, kept="results and checkpoints are kept"):
            settings, record, root, jobs, log = _parse(self.name, preset, self.presets[preset], rest, self.parted)
            path = record or Path("runs") / self.name / f"{'-'.join([preset, *_data_of(settings)])}.json"
            jobs = number_of_jobs(jobs, settings.training.threads if isinstance(settings, Settings) else None)
            self.run(settings, path, preset=preset, root=root, jobs=jobs, log=log)


def on_images(work: Callable[[T, ImageData, PartedRun], None]) -> Callable[[T, Path | None, PartedRun], None]:
    """Return the `work` of an `Experiment` that loads the data set named by the settings, and hands on its images.

    Args:
        work: Function of the settings, the images and the run.
    """

    def on_data_set(settings: T, root: Path | None, run: PartedRun) -> None:
        parts = {"train_images": settings.train_images, "validation_share": settings.validation_share}
        data = load(settings.data, root, **parts)
        run.made_from("data", data)
        work(settings, data, run)

    return on_data_set


def _data_of(settings: object) -> list[str]:
    """Return a list with the name of the data set, which is empty if the settings have none."""
    return [settings.data] if isinstance(settings, HasData) else []


def _parse(
    experiment: str, preset: str, settings: S, arguments: list[str], parted: bool
) -> tuple[S, Path | None, Path | None, int | Literal["auto"], tuple[LogName, ...]]:
    record_help = f"File of the record; by default runs/{experiment}/{'-'.join([preset, *_data_of(settings)])}.json."
    root_help = "Folder of the data sets; by default that of ODENET_DATA, or data/."
    jobs_help = "Number of parts of the run that are computed at a time, each in its own process; auto fills the cores."
    fields: list[tuple[str, Any, Any]] = [
        ("settings", Annotated[type(settings), tyro.conf.arg(name="")], settings),
        ("record", Annotated[Path | None, tyro.conf.arg(help=record_help)], None),
    ]
    log_help = f"Logs of each training beside the record, for its epochs: {' or '.join(get_args(LogName))}, or both."
    fields.append(("log", Annotated[tuple[LogName, ...], tyro.conf.arg(help=log_help)], ()))
    if _data_of(settings):
        fields.append(("data_root", Annotated[Path | None, tyro.conf.arg(help=root_help)], None))
    if parted:
        fields.append(("jobs", Annotated[int | Literal["auto"], tyro.conf.arg(help=jobs_help)], 1))
    prog = as_invoked(f"python -m experiments.{experiment} {preset}")
    given: Any = parse(make_dataclass("Options", fields), arguments, prog)
    root, jobs = getattr(given, "data_root", None), getattr(given, "jobs", 1)
    return given.settings, given.record, root, jobs, given.log


def _explain(experiment: str, presets: Mapping[str, object], given: str) -> NoReturn:
    known = ", ".join(presets)
    usage = as_invoked(f"usage: python -m experiments.{experiment} {{{known}}} [--help] [settings]")
    if given in ("-h", "--help"):
        print(as_invoked(f"{sys.modules['__main__'].__doc__}\n{usage}"))
        sys.exit(0)
    sys.exit(f"{usage}\n{experiment}: unknown preset {given!r}; the first argument is one of {known}.")
