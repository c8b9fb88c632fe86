"""Tests of slices: every experiment has a line, the order is that of value, and records are not made twice."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path, PurePosixPath

import pytest

from experiments.support.gpu_records import target_of
from experiments.support.slice_table import BENCHMARKS, EXPERIMENTS
from experiments.support.slices import BEGINNING, Slice, data_of, refusals, slices
from odenet.training import Record, Run

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(p.stem for p in (ROOT / "experiments").glob("*.py") if "\nPRESETS" in p.read_text("utf-8"))
LONGEST = 120
"""Seconds of a slice."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def of(experiment: str, seed: int = 0, preset: str = "gpu") -> Slice:
    every = slices(preset, "cuda")
    return next(part for part in every if part.work == experiment and getattr(part.settings, "seeds", (0,)) == (seed,))


def collected(part: Slice) -> Path:
    assert part.collected is not None
    return part.collected


def finish(path: Path, part: Slice, seeds: tuple[int, ...] | None = None, **changed: object) -> None:
    """Write a finished record with the settings of a slice, or with other seeds or settings."""
    settings = replace(part.settings, **({"seeds": seeds} if seeds else {}), **changed)
    with Run.open(part.work, settings, path, preset=part.command[1]) as run:
        run.finish(table=[])


def test_every_experiment_with_a_gpu_preset_has_a_line_and_no_other():
    assert sorted(EXPERIMENTS) == SCRIPTS


def test_every_benchmark_with_a_program_has_a_line_and_no_other():
    programs = [p for p in (ROOT / "benchmarks").glob("*.py") if not p.stem.startswith("__")]
    assert sorted(BENCHMARKS) == sorted(
        p.stem for p in programs if re.search(r"^def main\(", p.read_text("utf-8"), re.M)
    )


def test_the_order_is_that_of_value():
    names = [part.name for part in slices("gpu", "cuda")]
    first = ("depth_refinement", "degradation", "complexity")
    then = ("to_continuous", "segmentation", "multilevel_training")
    assert names[:2] == ["tests gpu and not compiles", "benchmark networks"]
    assert names[2:8] == [f"experiment {name}, seed 0" for name in (*first, *then)]
    assert names[8:14] == [f"experiment {name}, seed {seed}" for seed in (1, 2) for name in first]
    assert names[-1] == "benchmark scaling"
    assert len(names) == len(set(names))


@pytest.mark.parametrize("part", slices("gpu", "cuda"), ids=lambda part: part.name)
def test_a_slice_takes_at_most_two_minutes_and_leaves_a_record_of_its_own(part: Slice):
    assert 0 < part.seconds <= LONGEST
    assert all(other.record != part.record for other in slices("gpu", "cuda") if other.name != part.name)
    assert part.record.suffix == ".json"
    assert len(getattr(part.settings, "seeds", (0,))) == 1


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_gpu_preset_is_the_union_of_its_slices(name: str):
    settings = import_module(f"experiments.{name}").PRESETS["gpu"]
    parts = [part for part in slices("gpu", "cuda") if part.work == name and part.kind == "experiment"]
    if hasattr(settings, "seeds"):
        assert [part.settings.seeds for part in parts] == [(seed,) for seed in settings.seeds]
        assert all(replace(part.settings, seeds=settings.seeds) == settings for part in parts)
    else:
        assert [part.settings for part in parts] == [settings]


ON_POINTS = {"plane"}
"""Experiments on points, for which there is no memory format, and whose states have too few entries for bfloat16."""


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in SCRIPTS
        if hasattr(import_module(f"experiments.{n}").PRESETS["gpu"], "training") and n not in ON_POINTS
    ],
)
def test_the_gpu_preset_trains_in_bfloat16_with_channels_last(name: str):
    training = import_module(f"experiments.{name}").PRESETS["gpu"].training
    assert (training.precision, training.channels_last, training.threads) == ("bf16-mixed", True, None)


def test_no_preset_for_a_processor_asks_for_bfloat16():
    presets = {name: import_module(f"experiments.{name}").PRESETS for name in SCRIPTS}
    asked = [(n, p) for n, of_one in presets.items() for p in ("smoke", "demo", "cpu") if bfloat16(of_one.get(p))]
    assert asked == []


def bfloat16(settings: object) -> bool:
    return getattr(getattr(settings, "training", None), "precision", "") == "bf16-mixed"


def test_collected_records_are_named_as_slices_expect_them():
    for part in slices("gpu", "cuda"):
        name = PurePosixPath(part.record.parent.name) / part.record.name
        assert part.collected == Path("records") / target_of(name)


# What is done


def test_a_slice_without_a_record_is_left(folder: Path):
    assert not of("degradation").is_done()


def test_a_finished_record_of_the_slice_is_enough(folder: Path):
    part = of("degradation", 1)
    finish(part.record, part)
    assert part.is_done()
    assert not of("degradation", 0).is_done()


def test_a_record_that_is_not_finished_is_not(folder: Path):
    part = of("degradation")
    Run.open(part.work, part.settings, part.record, preset="gpu").close()
    assert not part.is_done()


def test_a_collected_record_has_the_seeds_that_it_says(folder: Path):
    part = of("degradation")
    finish(collected(part), part, seeds=(0, 2))
    assert [of("degradation", seed).is_done() for seed in (0, 1, 2)] == [True, False, True]


def test_an_experiment_without_seeds_is_done_by_its_record(folder: Path):
    part = of("inception")
    finish(collected(part), part)
    assert part.is_done()


@pytest.mark.parametrize("where", ["record", "collected"])
def test_a_record_of_other_settings_is_in_the_way_in_a_sentence(where: str, folder: Path):
    part = of("degradation")
    finish(getattr(part, where), part, widths=(8, 16, 32))
    (said,) = refusals([part, of("complexity")])
    assert "is that of another run (widths[0]: asked for 16, found 8" in said
    assert "choose another path with --record, or, if it is no longer wanted, delete it" in said


def test_a_damaged_record_is_in_the_way_in_a_sentence(folder: Path):
    part = of("degradation")
    part.record.parent.mkdir(parents=True)
    part.record.write_text("{")
    (said,) = refusals([part])
    assert f"the record {part.record} cannot be read" in said
    assert not part.watch()()


def test_a_benchmark_is_done_by_a_finished_record(folder: Path):
    part = next(part for part in slices("gpu", "cuda") if part.kind == "benchmark")
    assert not part.is_done()
    Record("benchmarks.networks", "", {}, finished=True).save(part.record)
    assert part.is_done()


def test_tests_of_other_code_are_run_again(folder: Path, monkeypatch: pytest.MonkeyPatch):
    part = slices("gpu", "cuda")[0]
    Record("gpu_tests", "", {}, finished=True).save(part.record)
    assert slices("gpu", "cuda")[0].is_done()
    monkeypatch.setattr("experiments.support.slices.code", lambda: "0" * 64)
    assert not slices("gpu", "cuda")[0].is_done()


def test_seconds_that_were_measured_on_the_same_card_take_the_place_of_the_estimate(folder: Path):
    part = of("degradation", 2)
    sessions = [{"seconds": s, "commit": None, "machine": {"gpu": "H100"}} for s in (50.0, 70.0)]
    Record(part.work, "gpu", {"seeds": [0, 1]}, sessions=sessions, finished=True).save(collected(part))
    assert part.as_measured("H100").seconds == 60.0 + BEGINNING
    assert part.as_measured("H200") == part
    assert part.as_measured(None) == part
    assert of("complexity").as_measured("H100") == of("complexity")


def test_the_record_of_a_running_slice_is_watched(folder: Path):
    part = of("degradation")
    is_finished = part.watch()
    assert not is_finished()
    with Run.open(part.work, part.settings, part.record, preset="gpu") as run:
        assert not is_finished()
        run.finish(table=[])
    assert is_finished()


def test_other_presets_are_for_trials_or_take_longer():
    smoke, full = slices("smoke", "cpu"), slices("full", "cuda")
    assert {part.kind for part in smoke} == {"tests", "experiment", "benchmark"}
    assert next(part.command for part in smoke if part.kind == "benchmark") == ("benchmarks.networks", "--quick")
    assert sorted({part.work for part in smoke if part.kind == "experiment"}) == SCRIPTS
    assert {part.work for part in full if part.kind == "experiment"} < set(SCRIPTS), "where there is such a preset"
    assert max(part.seconds for part in full) > LONGEST


def test_the_data_of_slices_are_named():
    assert data_of(slices("gpu", "cuda")) == {"fashion-mnist", "scenes"}
    assert data_of(slices("smoke", "cpu")) == {"digits", "scenes"}
    assert json.dumps(sorted(data_of([]))) == "[]"
