"""The command line of an experiment: `python -m experiments.NAME PRESET [--settings …] [--record FILE] [--jobs N]`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Protocol, TypeVar, runtime_checkable

import tyro

from experiments.support.parts import PartedRun, number_of_jobs
from experiments.support.tables import print_table
from odenet.data import ImageData, load
from odenet.training import Record, Training, is_main_process
from odenet.training.checked import Checked, Different, Within

Seeds = Annotated[tuple[int, ...], Within(0, 2**32 - 1), Different()]
"""One repetition each."""


@runtime_checkable
class HasData(Protocol):
    """Settings of an experiment on a data set."""

    @property
    def data(self) -> str:
        """Its name."""
        ...


@dataclass(frozen=True)
class Settings(Checked):
    """What every experiment on labelled images has to know."""

    data: str = "fashion-mnist"
    """Data set: digits, mnist, fashion-mnist, cifar10, cifar100, scenes, garments."""
    train_images: int | None = None
    """Use only so many training images, the classes equally often."""
    seeds: Seeds = (0, 1, 2)
    """One repetition each: initial weights, order of images, augmentation."""
    augment: bool = True
    """Shift (and flip) training images as is usual for the data set."""
    training: Training = field(default_factory=Training)
    """How each network is trained."""


S = TypeVar("S")
T = TypeVar("T", bound=Settings)


def main(
    experiment: str, presets: Mapping[str, T], work: Callable[[T, ImageData, PartedRun], None], *, parted: bool = False
) -> Record:
    """`run_experiment` on labelled images: the data set that the settings name is loaded first.

    Args:
        experiment: name of the script.
        presets: settings by name.
        work: of the settings, the images and the run.
        parted: whether `work` computes its results through `run.each`.
    """

    def on_images(settings: T, root: Path | None, run: PartedRun) -> None:
        data = load(settings.data, root, train_images=settings.train_images)
        run.made_from("data", data)
        work(settings, data, run)

    return run_experiment(experiment, presets, on_images, parted=parted)


def run_experiment(
    experiment: str,
    presets: Mapping[str, S],
    work: Callable[[S, Path | None, PartedRun], None],
    *,
    parted: bool = False,
) -> Record:
    """Parse the command line, run or continue the experiment, and print what its record says.

    The record goes to `runs/EXPERIMENT/PRESET-DATA.json`, `PRESET.json` where the settings name no `data`, unless
    `--record` names another file. Data are looked for in `--data-root`, then in the environment variable ODENET_DATA,
    then in `data/`.

    Args:
        experiment: name of the script.
        presets: settings by name, a frozen dataclass; the first argument of the command.
        work: of the settings, the folder of the data sets if one was given, and the run; it computes results through
            `Run.once` and concludes with `Run.finish(table=rows, …)`.
        parted: whether `work` computes its results through `run.each`; the command then takes `--jobs`.
    """
    preset, *rest = sys.argv[1:] or ["--help"]
    if preset not in presets:
        _explain(experiment, presets, preset)
    try:
        settings, record, root, jobs = _parse(experiment, preset, presets[preset], rest, parted)
        path = record or Path("runs") / experiment / f"{'-'.join([preset, *_data_of(settings)])}.json"
        jobs = number_of_jobs(jobs, settings.training.threads if isinstance(settings, Settings) else None)
        with PartedRun.open(experiment, settings, path, preset=preset) as run:
            run.jobs = jobs
            if not run.finished:
                work(settings, root, run)
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        sys.exit(f"{experiment}: {error}")
    if is_main_process():
        print_table(experiment.replace("_", " "), run.record.summary.get("table", []))
        print(f"record: {path}")
    return run.record


def _data_of(settings: object) -> list[str]:
    """The name of the data set, where the settings have one."""
    return [settings.data] if isinstance(settings, HasData) else []


def _parse(
    experiment: str, preset: str, settings: S, arguments: list[str], parted: bool
) -> tuple[S, Path | None, Path | None, int | Literal["auto"]]:
    record_help = f"File of the record; by default runs/{experiment}/{'-'.join([preset, *_data_of(settings)])}.json."
    root_help = "Folder of the data sets; by default that of ODENET_DATA, or data/."
    jobs_help = "How many parts of the run are computed at a time, each in a process of its own; auto fills the cores."
    fields: list[tuple[str, Any, Any]] = [
        ("settings", Annotated[type(settings), tyro.conf.arg(name="")], settings),
        ("record", Annotated[Path | None, tyro.conf.arg(help=record_help)], None),
    ]
    if _data_of(settings):
        fields.append(("data_root", Annotated[Path | None, tyro.conf.arg(help=root_help)], None))
    if parted:
        fields.append(("jobs", Annotated[int | Literal["auto"], tyro.conf.arg(help=jobs_help)], 1))
    options = make_dataclass("Options", fields)
    given = tyro.cli(options, prog=f"python -m experiments.{experiment} {preset}", description="", args=arguments)
    return given.settings, given.record, getattr(given, "data_root", None), getattr(given, "jobs", 1)


def _explain(experiment: str, presets: Mapping[str, object], given: str) -> NoReturn:
    known = ", ".join(presets)
    usage = f"usage: python -m experiments.{experiment} {{{known}}} [--help] [settings]"
    if given in ("-h", "--help"):
        print(f"{sys.modules['__main__'].__doc__}\n{usage}")
        sys.exit(0)
    sys.exit(f"{usage}\n{experiment}: unknown preset {given!r}; the first argument is one of {known}.")
