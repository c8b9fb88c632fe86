"""Points of a sweep: each is a run of one experiment with its own settings and a record named after them."""

from __future__ import annotations

import io
import shlex
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import quote_plus

from experiments.support.command import Experiment
from experiments.support.endings import REFUSALS
from odenet.blocks.errors import unknown_name
from odenet.blocks.extras import Extra
from odenet.training import RecordError, Run
from odenet.training.devices import threads_kept

with Extra("experiments"):
    import tyro


@dataclass(frozen=True)
class Point:
    """Run of an experiment with the settings of a preset, some of which are replaced."""

    experiment: str
    """Name of the script."""
    preset: str
    """Name of the preset."""
    given: Mapping[str, str]
    """Values of the replaced settings by dotted name, as written on the command line."""
    settings: Any
    """All settings, a dataclass of the experiment."""
    folder: Path
    """Folder of the record."""

    @property
    def name(self) -> str:
        """Name of the point, which lists the replaced settings: training.lr=0.05,seeds=0."""
        return ",".join(f"{name}={value}" for name, value in self.given.items())

    @property
    def path(self) -> Path:
        """File of the record."""
        return self.folder / f"{quote_plus(self.name, safe='=,')}.json"

    @property
    def finished(self) -> bool:
        """Whether the record exists and is finished.

        Raises:
            RecordError: if the file is the record of other settings or files, or is no record.
        """
        if not self.path.exists():
            return False
        try:
            found = Run.recorded(self.experiment, self.settings, self.path, preset=self.preset)
        except RecordError as error:
            raise RecordError(f"{error} (The records of a sweep are in its --folder.)") from error
        return found is not None and found.finished

    def run(self) -> str | None:
        """Run the experiment, or continue it, with these settings; return the message of an error, or None."""
        experiment: Experiment[Any] = import_module(f"experiments.{self.experiment}").EXPERIMENT
        try:
            with threads_kept():
                experiment.run(self.settings, self.path, preset=self.preset)
        except REFUSALS as error:
            return f"{self.experiment}: {error}"
        except Exception as error:  # the other points of the sweep still run
            traceback.print_exc()
            return f"{type(error).__name__}: {error}"
        return None


def points(experiment: str, preset: str, settings: object, over: Sequence[str], folder: Path) -> list[Point]:
    """Return one point for each combination of values; the last setting changes fastest.

    Args:
        experiment: Name of the script.
        preset: Name of the preset.
        settings: Settings of the preset.
        over: NAME=VALUE,VALUE… for each setting that varies. A value that is a tuple has its entries separated by
            spaces; an entry that contains a space is quoted.
        folder: Folder of the records.

    Raises:
        ValueError: if a setting is unknown, a value has another type or is out of bounds, or a setting or a value is
            named twice.
    """
    if not over:
        raise ValueError(
            "a sweep without --over was asked for, which is a single run: name settings and values, as in "
            f"--over seeds=0,1, or run python -m experiments.{experiment} {preset}."
        )
    axes = dict(_axis(settings, text) for text in over)
    if repeated := _repeated(text.partition("=")[0].replace("-", "_") for text in over):
        raise ValueError(
            f"the setting {repeated} was given more than once, and every combination of values is one run: give all "
            f"its values in one --over {repeated}=VALUE,VALUE."
        )
    combinations = (dict(zip(axes, values, strict=True)) for values in product(*axes.values()))
    return [_point(experiment, preset, settings, given, folder) for given in combinations]


def _axis(settings: object, text: str) -> tuple[str, list[str]]:
    """Return the name of the setting that varies and its values as text, after checking them."""
    name, _, listed = text.partition("=")
    name, values = name.strip().replace("-", "_"), [value.strip() for value in listed.split(",")]
    if not all(values):
        raise ValueError(
            f"--over {text!r} must be a setting with its values: write NAME=VALUE,VALUE, as in training.lr=0.05,0.1, "
            "without empty values."
        )
    types = dict(_types(settings))
    if name not in types:
        raise unknown_name("setting", name, types)
    found = [_parsed(name, types[name], value) for value in values]
    for place, value in enumerate(found):
        if value in found[:place]:
            raise ValueError(
                f"--over {text!r} gives {name} the value {values[place]} twice, so that two runs would be the same: "
                "leave one of them out."
            )
    return name, values


def _types(settings: object, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the type of each setting."""
    hints = get_type_hints(type(settings), include_extras=True)
    for field in fields(settings):  # pyright: ignore[reportArgumentType]
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from _types(value, f"{before}{field.name}.")
        else:
            yield before + field.name, hints[field.name]


def _parsed(name: str, kind: Any, text: str) -> Any:
    """Parse `text` as the command line of the experiment does."""
    try:
        with redirect_stderr(io.StringIO()):
            return tyro.cli(kind, args=shlex.split(text), console_outputs=False)
    except (SystemExit, ValueError):  # shlex raises ValueError for a quotation mark that is not closed
        shown = kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")
        raise ValueError(f"{name} must be of type {shown}, got {text}: give values of that type.") from None


def _repeated(names: Iterable[str]) -> str | None:
    (name, count), *_ = Counter(names).most_common(1)
    return name if count > 1 else None


def _point(experiment: str, preset: str, settings: object, given: dict[str, str], folder: Path) -> Point:
    types = dict(_types(settings))
    for name, text in given.items():
        settings = _with(settings, name.split("."), _parsed(name, types[name], text))
    return Point(experiment, preset, given, settings, folder)


def _with(settings: Any, path: list[str], value: Any) -> Any:
    """Return the settings with another value at a path of names."""
    name, *rest = path
    return replace(settings, **{name: _with(getattr(settings, name), rest, value) if rest else value})
