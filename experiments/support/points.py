"""Points of a sweep: each a run of one experiment with settings of its own, and a record whose name says which."""

from __future__ import annotations

import io
import runpy
import shlex
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import quote_plus

import torch
import tyro

from odenet.blocks.errors import unknown_name
from odenet.training import RecordError, Run


@dataclass(frozen=True)
class Point:
    """A run of an experiment: a preset, and what is given in the place of some of its settings."""

    experiment: str
    """Name of the script."""
    preset: str
    """Whose settings hold but for those given."""
    given: Mapping[str, str]
    """Settings by dotted name, as written on the command line."""
    settings: Any
    """All of them, the dataclass of the experiment."""
    folder: Path
    """Of the record."""

    @property
    def name(self) -> str:
        """What sets it apart from the others: training.lr=0.05,seeds=0."""
        return ",".join(f"{name}={value}" for name, value in self.given.items())

    @property
    def path(self) -> Path:
        """Of the record."""
        return self.folder / f"{quote_plus(self.name, safe='=,')}.json"

    @property
    def finished(self) -> bool:
        """Whether the record is there, and nothing is left to compute.

        Raises:
            RecordError: The record there is one of other settings or files, or none.
        """
        if not self.path.exists():
            return False
        try:
            found = Run.recorded(self.experiment, self.settings, self.path, preset=self.preset)
        except RecordError as error:
            raise RecordError(f"{error} (The records of a sweep are in its --folder.)") from error
        return found is not None and found.finished

    @property
    def arguments(self) -> list[str]:
        """Those of the command line of the experiment."""
        given = [argument for name, value in self.given.items() for argument in self._argument(name, value)]
        return [self.preset, *given, "--record", str(self.path)]

    def _argument(self, name: str, value: str) -> list[str]:
        words = name.replace("_", "-")
        if isinstance(of_name(self.settings, name), bool):
            group, _, switch = words.rpartition(".")
            return [f"--{group}{'.' if group else ''}{'' if value == 'True' else 'no-'}{switch}"]
        return [f"--{words}", *shlex.split(value)]

    def run(self) -> str | None:
        """Run it as `python -m experiments.NAME` does, or let it go on; what went wrong, if anything did."""
        script, arguments, threads = f"experiments.{self.experiment}", sys.argv, torch.get_num_threads()
        sys.argv = [script, *self.arguments]
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=f".*{script}", category=RuntimeWarning)  # imported before
                runpy.run_module(script, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            return str(end.code)
        except Exception as error:  # one point is not to take the others with it
            traceback.print_exc()
            return f"{type(error).__name__}: {error}"
        finally:
            sys.argv = arguments
            torch.set_num_threads(threads)
        return None


def points(experiment: str, preset: str, settings: object, over: Sequence[str], folder: Path) -> list[Point]:
    """One point for each combination of values; the last setting changes fastest.

    Args:
        experiment: Name of the script.
        preset: Name of the preset.
        settings: Those of the preset.
        over: NAME=VALUE,VALUE… for each setting that varies; the parts of one value are parted by spaces, and quoted
            where they have some themselves.
        folder: Of the records.

    Raises:
        ValueError: An unknown setting, a value of another type or out of bounds, a setting or a value named twice.
    """
    if not over:
        raise ValueError(
            "a sweep over nothing was asked for: that is a single run; name settings and values, as in "
            f"--over seeds=0,1, or run python -m experiments.{experiment} {preset}."
        )
    axes = dict(_axis(settings, text) for text in over)
    if repeated := _repeated(text.partition("=")[0].replace("-", "_") for text in over):
        raise ValueError(
            f"the setting {repeated} was given more than once: every combination of values is one run; give all its "
            f"values in one --over {repeated}=VALUE,VALUE."
        )
    combinations = (dict(zip(axes, values, strict=True)) for values in product(*axes.values()))
    return [_point(experiment, preset, settings, given, folder) for given in combinations]


def of_name(settings: Any, name: str) -> Any:
    """The setting of a dotted name."""
    for part in name.split("."):
        settings = getattr(settings, part)
    return settings


def _axis(settings: object, text: str) -> tuple[str, list[str]]:
    """The setting that varies and its values, as text: each of the right type, none twice."""
    name, _, listed = text.partition("=")
    name, values = name.strip().replace("-", "_"), [value.strip() for value in listed.split(",")]
    if not all(values):
        raise ValueError(
            f"--over {text!r} names no setting with its values: write NAME=VALUE,VALUE, as in training.lr=0.05,0.1, "
            "without empty values."
        )
    types = dict(_types(settings))
    if name not in types:
        raise unknown_name("setting", name, types)
    found = [_parsed(name, types[name], value) for value in values]
    for place, value in enumerate(found):
        if value in found[:place]:
            raise ValueError(
                f"--over {text!r} gives {name} the value {values[place]} twice: two runs would be one and the same; "
                "leave one of them out."
            )
    return name, values


def _types(settings: object, before: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted names of all settings, and their types."""
    hints = get_type_hints(type(settings), include_extras=True)
    for field in fields(settings):  # pyright: ignore[reportArgumentType]
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from _types(value, f"{before}{field.name}.")
        else:
            yield before + field.name, hints[field.name]


def _parsed(name: str, kind: Any, text: str) -> Any:
    """The value that the command line of the experiment would make of `text`."""
    try:
        with redirect_stderr(io.StringIO()):
            return tyro.cli(kind, args=shlex.split(text), console_outputs=False)
    except (SystemExit, ValueError):  # the latter of quotes that do not close
        shown = kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")
        raise ValueError(f"{name}={text} cannot be: the setting is of type {shown}; give such values.") from None


def _repeated(names: Iterable[str]) -> str | None:
    (name, count), *_ = Counter(names).most_common(1)
    return name if count > 1 else None


def _point(experiment: str, preset: str, settings: object, given: dict[str, str], folder: Path) -> Point:
    types = dict(_types(settings))
    for name, text in given.items():
        settings = _with(settings, name.split("."), _parsed(name, types[name], text))
    return Point(experiment, preset, given, settings, folder)


def _with(settings: Any, path: list[str], value: Any) -> Any:
    """The settings with another value at a path."""
    name, *rest = path
    return replace(settings, **{name: _with(getattr(settings, name), rest, value) if rest else value})
