"""Tests of the points of a sweep: the product of values, distinct names of records, and refused settings."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, is_dataclass, replace
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from experiments import depth_refinement
from experiments.support.points import Point, points
from odenet.training import Record, RecordError, Run, Training
from tests.training_cases import unfinish

PRESETS = depth_refinement.EXPERIMENT.presets
SCRIPTS = Path(depth_refinement.__file__).parent.glob("*.py")
EXPERIMENTS = sorted(path.stem for path in SCRIPTS if "\nEXPERIMENT = " in path.read_text("utf-8"))


@dataclass(frozen=True)
class Settings:
    """Settings of every type that experiments have."""

    name: str = "a"
    count: int | None = 3
    widths: tuple[int, ...] = (8, 16)
    names: tuple[str, ...] = ("a",)
    kind: Literal["x", "y"] = "x"
    switch: bool = True
    training: Training = field(default_factory=Training)


def names(settings: object, before: str = "") -> list[str]:
    """Return the dotted names of all settings."""
    found = []
    for name, value in vars(settings).items():
        found += names(value, f"{before}{name}.") if is_dataclass(value) else [before + name]
    return [name for name in found if not name.endswith("training.groups")]  # which is set in Python alone


def of_name(settings: Any, name: str) -> Any:
    """Return the setting of a dotted name."""
    return reduce(getattr, name.split("."), settings)


def text(value: object) -> str:
    """Return a setting as it is written on the command line."""
    return shlex.join(map(str, value)) if isinstance(value, tuple) else str(value)


def over(*texts: str, folder: Path = Path("folder")) -> list[Point]:
    return points("some_experiment", "smoke", Settings(), texts, folder)


def test_the_points_are_the_product_of_the_values_in_order():
    found = over("training.lr=0.05,0.1", "count=1,None,2")
    assert [(p.settings.training.lr, p.settings.count) for p in found] == [
        *((0.05, 1), (0.05, None), (0.05, 2)),
        *((0.1, 1), (0.1, None), (0.1, 2)),
    ]
    assert all(replace(p.settings, count=3, training=Training()) == Settings() for p in found)


def test_the_entries_of_a_tuple_are_separated_by_spaces():
    assert [p.settings.widths for p in over("widths=4,8 16,1 2 3")] == [(4,), (8, 16), (1, 2, 3)]


def test_an_entry_with_a_space_is_quoted():
    (point,) = over("names='bed of nails' nearest")
    assert point.settings.names == ("bed of nails", "nearest")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_setting_of_every_experiment_may_be_swept(experiment: str):
    settings = import_module(f"experiments.{experiment}").PRESETS["smoke"]
    given = [f"{name}={text(of_name(settings, name))}" for name in names(settings)]
    (point,) = points(experiment, "smoke", settings, given, Path("folder"))
    assert point.settings == settings


def test_names_are_written_with_underscores_or_hyphens():
    (point,) = over("training.batch-size=32")
    assert point.settings.training.batch_size == 32
    assert point.name == "training.batch_size=32"


def test_the_name_of_a_record_says_which_settings_it_has():
    paths = [str(p.path) for p in over("widths=4,8 16", "training.lr=0.1")]
    assert paths == ["folder/widths=4,training.lr=0.1.json", "folder/widths=8+16,training.lr=0.1.json"]
    assert over("name=a/../b")[0].path.parent == Path("folder")


def test_a_truth_value_is_written_as_in_python():
    (point,) = over("switch=False", "training.deterministic=True", "count=None")
    assert point.settings == Settings(switch=False, training=Training(deterministic=True), count=None)


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        (["trainin.lr=1"], r"unknown setting 'trainin.lr'; did you mean 'training.lr'\? Known: count, kind"),
        (["training=1"], "unknown setting 'training'; did you mean 'training"),
        (["training.lr=0.1,fast"], "training.lr must be of type float, got fast: give values of that type"),
        (["count=1.5"], r"count must be of type int \| None, got 1.5"),
        (["switch=yes"], "switch must be of type bool, got yes"),
        (["kind=z"], r"kind must be of type Literal\['x', 'y'\], got z"),
        (["widths=4 x"], r"widths must be of type tuple\[int, ...\], got 4 x"),
        (["names=a 'b"], r"names must be of type tuple\[str, ...\], got a 'b"),
        (["training.lr=0.1,-1"], r"lr must be positive and finite, got -1.0: it scales the steps of the optimizer"),
        (["count=1", "count=2"], "the setting count was given more than once.*give all its values in one --over count"),
        (["training.batch-size=1", "training.batch_size=2"], "training.batch_size was given more than once"),
        (["training.lr=0.1,0.2,0.10"], "gives training.lr the value 0.10 twice, so that two runs would be the same"),
        (["count"], r"--over 'count' must be a setting with its values: write NAME=VALUE,VALUE"),
        (["count=1,,2"], r"--over 'count=1,,2' must be a setting with its values.*without empty values"),
        ([], "a sweep without --over was asked for, which is a single run: name settings and values"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_starts(texts: list[str], complaint: str):
    with pytest.raises(ValueError, match=complaint):
        over(*texts)


def test_a_point_is_finished_when_its_record_is(tmp_path: Path):
    (point,) = over("count=1", folder=tmp_path)
    assert not point.finished
    run = Run.open("some_experiment", point.settings, point.path, preset="smoke")
    assert not point.finished
    run.finish(table=[])
    assert point.finished


def test_a_record_of_other_settings_is_not_taken_for_the_point(tmp_path: Path):
    (point,) = over("count=1", folder=tmp_path)
    Run.open("some_experiment", replace(point.settings, name="b"), point.path, preset="smoke").finish(table=[])
    with pytest.raises(RecordError, match=r"that of another run \(name: asked for 'a', found 'b'\).*--folder"):
        assert point.finished


@pytest.fixture(scope="module")
def run_point(tmp_path_factory: pytest.TempPathFactory) -> Point:
    """Run a point of a real experiment with one small net that changes the number of threads, and return it."""
    folder = tmp_path_factory.mktemp("sweep")
    given = ["levels=1", "widths=4", "augment=False", "training.threads=1", "recalibration_images=32"]
    (point,) = points("depth_refinement", "smoke", PRESETS["smoke"], given, folder)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert point.run() is None
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    return point


def test_a_point_runs_as_the_command_line_of_its_experiment_does(run_point: Point):
    record = Record.load(run_point.path)
    assert record.finished
    assert (record.experiment, record.preset) == ("depth_refinement", "smoke")
    assert (record.settings["augment"], record.settings["widths"]) == (False, [4])
    assert run_point.finished


def test_an_interrupted_point_goes_on_where_it_was(run_point: Point):
    whole = unfinish(run_point.path)
    assert run_point.run() is None
    again = Record.load(run_point.path)
    assert again.results == whole.results  # read, not computed: the times are the same
    assert len(again.sessions) == 2
    assert again.finished


def test_what_an_experiment_refuses_is_the_outcome_of_its_point(tmp_path: Path):
    (point,) = points("depth_refinement", "smoke", PRESETS["smoke"], ["train_images=5"], tmp_path)
    outcome = point.run()
    assert outcome is not None
    assert outcome.startswith("depth_refinement: batch_size=64 with drop_last leaves no batch: there are 5 images")


def test_an_error_in_an_experiment_ends_its_point_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(depth_refinement, "EXPERIMENT", replace(depth_refinement.EXPERIMENT, work=broken))
    (point,) = points("depth_refinement", "smoke", PRESETS["smoke"], ["levels=1"], tmp_path)
    assert point.run() == "ZeroDivisionError: division by zero"
    assert "Traceback" in capsys.readouterr().err
