"""Settings have the types and bounds of their annotations, or are refused by name at construction."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from odenet.training import Training
from odenet.training.checked import Checked, Different, OneOf, Within

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted(
    path.stem for path in (ROOT / "experiments").glob("*.py") if "\nPRESETS" in path.read_text("utf-8")
)


@dataclass(frozen=True)
class Inner(Checked):
    depth: int = 2


@dataclass(frozen=True)
class Options(Checked):
    count: int = 3
    clutter: int = 0
    rate: float = 0.1
    decay: float = 0.0
    share: Annotated[float, Within(0, 1)] = 0.5
    seeds: Annotated[tuple[int, ...], Within(0, 9), Different()] = (0,)
    widths: tuple[int, ...] = (4, 4)
    zoo: tuple[str, ...] = ()
    nets: Annotated[tuple[str, ...], OneOf(("fcn", "unet"))] = ("fcn",)
    bounds: tuple[int, int] = (1, 2)
    switch: bool = False
    name: str = "a"
    kind: Literal["one", "two"] = "one"
    processes: Literal["auto"] | int = "auto"
    limit: int | None = None
    file: Path | None = None
    inner: Inner = field(default_factory=Inner)


NEITHER_NUMBER: list[Any] = ["0.1", "", None, True, [1], (), {}, 1j, b"1", object, np.array([1, 2])]

WRONG: dict[str, list[Any]] = {
    "count": [*NEITHER_NUMBER, 1.5, 1.0, 0, -1, np.float64(1)],
    "clutter": [*NEITHER_NUMBER, -1],
    "rate": [*NEITHER_NUMBER, 0, 0.0, -1, math.nan, math.inf, -math.inf],
    "decay": [*NEITHER_NUMBER, -1e-9, math.nan, math.inf],
    "share": [*NEITHER_NUMBER, -0.1, 1.1, math.nan, math.inf],
    "seeds": ["0", 1, None, (), (-1,), (10,), (0, 0), (1.0,), ("0",), (True,), (None,), {0}],
    "widths": ["44", 4, None, (), [], (0,), (4, -4), (4.0,), ("4",), (4, None)],
    "zoo": ["a", None, (1,), (None,), ("a", "a")],
    "nets": ["fcn", (), ("fcm",), ("fcn", "fcn"), (1,), None],
    "bounds": [(1,), (1, 2, 3), 1, None, (0, 1), ("1", 2)],
    "switch": ["no", "False", 0, 1, None, np.int64(1)],
    "name": [1, None, b"a", True],
    "kind": ["three", "", None, 1, True],
    "processes": ["many", 0, -1, 1.5, None, True],
    "limit": ["1", 0, -1, 1.5, True],
    "file": ["name", 1, True],
    "inner": [None, {"depth": 2}, 2],
}

RIGHT: dict[str, list[tuple[Any, Any]]] = {
    "count": [(1, 1), (np.int32(4), 4)],
    "clutter": [(0, 0)],
    "rate": [(1, 1.0), (np.float32(0.5), 0.5), (np.int64(2), 2.0)],
    "decay": [(0, 0.0)],
    "share": [(0, 0.0), (1, 1.0)],
    "seeds": [([3, 1], (3, 1))],
    "widths": [((8, 8), (8, 8)), ((np.int64(8),), (8,))],
    "zoo": [((), ()), (["a"], ("a",))],
    "nets": [(("unet", "fcn"), ("unet", "fcn"))],
    "processes": [("auto", "auto"), (2, 2)],
    "limit": [(None, None), (2, 2)],
    "file": [(None, None), (Path("name"), Path("name"))],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_value_that_cannot_be_is_refused_by_name_with_what_to_give(name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"(?s){name}.*( must be .*, got .*: |Known: )") as refusal:
        Options(**{name: value})
    assert type(refusal.value) in (TypeError, ValueError)


@pytest.mark.parametrize(("name", "value", "meant"), [(name, *pair) for name, pairs in RIGHT.items() for pair in pairs])
def test_a_value_that_is_meant_is_taken_as_a_number_of_python(name: str, value: Any, meant: Any) -> None:
    found = getattr(Options(**{name: value}), name)
    assert found == meant
    assert type(found) is type(meant)
    if isinstance(meant, tuple):
        assert [type(entry) for entry in found] == [type(entry) for entry in meant]


def test_every_field_is_tried() -> None:
    assert WRONG.keys() == {entry.name for entry in fields(Options)}


def test_a_number_out_of_bounds_is_told_with_the_bounds() -> None:
    said: list[tuple[str, Any, str]] = [
        ("count", 0, "a whole number of at least 1"),
        ("clutter", -1, "a whole number of at least 0"),
        ("rate", 0, "a finite number greater than 0"),
        ("decay", math.inf, "a finite number of at least 0"),
        ("share", 2, "a number from 0 to 1"),
        ("bounds", (1,), "a sequence of 2 values"),
    ]
    for name, value, bounds in said:
        message = f"{name} must be {bounds}, got {value!r}: pass such a value."
        with pytest.raises(ValueError, match=re.escape(message)):
            Options(**{name: value})
    with pytest.raises(ValueError, match=r"unknown nets\[1\] 'unit'; did you mean 'unet'"):
        Options(nets=("fcn", "unit"))


@pytest.mark.parametrize(
    "change",
    [
        *({"lr": value} for value in ("0.1", None, True, math.nan, math.inf, 0, -1)),
        *({"compile": value} for value in ("no", 0, None)),
        *({"deterministic": "no"}, {"channels_last": 1}, {"milestones": "0.5"}, {"milestones": (None,)}),
        *({"gradient_clip": value} for value in ("1", True, 0, -1, math.nan)),
        *({"checkpoint_seconds": value} for value in ("60", math.nan, -1, None)),
        *({"epochs": value} for value in ("1", 1.0, 0, True, None)),
        *(
            {"momentum": "0.9"},
            {"weight_decay": None},
            {"warmup": True},
            {"device": 0},
            {"threads": 0},
            {"threads": "1"},
        ),
    ],
    ids=str,
)
def test_the_settings_of_a_training_are_checked_too(change: dict[str, Any]) -> None:
    (name,) = change
    with pytest.raises((TypeError, ValueError), match=name):
        Training(**change)


def test_numbers_of_numpy_in_the_settings_of_a_training_become_those_of_python() -> None:
    given = Training(lr=np.float32(0.5), epochs=np.int64(2), milestones=(np.float64(0.5),))  # pyright: ignore
    assert [type(given.lr), type(given.epochs), type(given.milestones[0])] == [float, int, float]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_setting_of_every_experiment_refuses_what_no_setting_can_be(experiment: str) -> None:
    settings = import_module(f"experiments.{experiment}").PRESETS["smoke"]
    assert isinstance(settings, Checked)
    for entry in fields(settings):
        negative = () if entry.name == "exponents" else (-1, (-1,))  # powers of 2 may be negative
        for value in (object(), 1j, *negative, math.nan, (math.nan,), {"a": 1}):
            with pytest.raises((TypeError, ValueError), match=entry.name):
                replace(settings, **{entry.name: value})
