"""The command line of an experiment: `python -m experiments.NAME PRESET [--settings …] [--record FILE]`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import tyro

from experiments.tables import print_table
from odenet.data import ImageData, load
from odenet.training import Record, Run, Training


@dataclass(frozen=True)
class Settings:
    """What every experiment on images has to know."""

    data: str = "fashion-mnist"
    """Data set: digits, mnist, fashion-mnist, cifar10, cifar100."""
    train_images: int | None = None
    """Use only so many training images, the classes equally often."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One repetition each: initial weights, order of images, augmentation."""
    augment: bool = True
    """Shift (and flip) training images as is usual for the data set."""
    training: Training = field(default_factory=Training)
    """How each network is trained."""

    def __post_init__(self) -> None:
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds = {self.seeds}; each is one repetition: pass different whole numbers from 0 on.")


S = TypeVar("S", bound=Settings)


def main(experiment: str, presets: Mapping[str, S], work: Callable[[S, ImageData, Run], None]) -> Record:
    """Parse the command line, run or continue the experiment, and print what its record says.

    The record goes to `runs/EXPERIMENT/PRESET-DATA.json` unless `--record` names another file; the data are looked for
    in `--data-root`, then in the environment variable ODENET_DATA, then in `data/`.

    Args:
        experiment: name of the script.
        presets: settings by name; the first argument of the command.
        work: computes results through `Run.once` and concludes with `Run.finish(table=rows, …)`.
    """
    preset, *rest = sys.argv[1:] or ["--help"]
    if preset not in presets:
        _explain(experiment, presets, preset)
    settings, record, root = _parse(experiment, preset, presets[preset], rest)
    path = record or Path("runs") / experiment / f"{preset}-{settings.data}.json"
    try:
        run = Run.open(experiment, settings, path, preset=preset)
        if not run.finished:
            work(settings, load(settings.data, root, train_images=settings.train_images), run)
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        sys.exit(f"{experiment}: {error}")
    print_table(experiment.replace("_", " "), run.record.summary.get("table", []))
    print(f"record: {path}")
    return run.record


def _parse(experiment: str, preset: str, settings: S, arguments: list[str]) -> tuple[S, Path | None, Path | None]:
    record_help = "File of the record; by default runs/EXPERIMENT/PRESET-DATA.json."
    root_help = "Folder of the data sets; by default that of ODENET_DATA, or data/."
    options = make_dataclass(
        "Options",
        [
            ("settings", Annotated[type(settings), tyro.conf.arg(name="")], settings),
            ("record", Annotated[Path | None, tyro.conf.arg(help=record_help)], None),
            ("data_root", Annotated[Path | None, tyro.conf.arg(help=root_help)], None),
        ],
    )
    given = tyro.cli(options, prog=f"python -m experiments.{experiment} {preset}", description="", args=arguments)
    return given.settings, given.record, given.data_root


def _explain(experiment: str, presets: Mapping[str, Settings], given: str) -> NoReturn:
    known = ", ".join(presets)
    usage = f"usage: python -m experiments.{experiment} {{{known}}} [--help] [settings]"
    if given in ("-h", "--help"):
        print(f"{sys.modules['__main__'].__doc__}\n{usage}")
        sys.exit(0)
    sys.exit(f"{usage}\n{experiment}: unknown preset {given!r}; the first argument is one of {known}.")
