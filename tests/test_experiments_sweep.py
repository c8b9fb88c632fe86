"""Tests of a sweep: every combination of values is run once, continues if interrupted, and ends in one table."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from experiments.support.jobs import Jobs
from experiments.sweep import PointsFailed, Sweep, main, sweep, table
from odenet.training import Record
from tests.training_cases import unfinish

GIVEN = ("levels=1", "widths=4", "recalibration_images=32", "training.lr=0.05,0.1", "augment=False")


def given(folder: Path, *over: str, experiment: str = "depth_refinement", preset: str = "smoke") -> Sweep:
    return Sweep(experiment=experiment, preset=preset, over=over, folder=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a sweep over two learning rates."""
    folder = tmp_path_factory.mktemp("sweep")
    sweep(given(folder, *GIVEN))
    return folder


def test_every_point_has_a_finished_record_of_its_own(folder):
    names = [f"levels=1,widths=4,recalibration_images=32,training.lr={lr},augment=False" for lr in ("0.05", "0.1")]
    assert sorted(path.stem for path in folder.glob("*.json")) == names
    records = [Record.load(folder / f"{name}.json") for name in names]
    assert [record.settings["training"]["lr"] for record in records] == [0.05, 0.1]
    assert all(record.finished for record in records)


def test_the_table_has_the_rows_of_all_points_after_their_settings(folder):
    rows = table(sweep(given(folder, *GIVEN)))
    settings = ["levels", "widths", "recalibration_images", "training.lr", "augment"]
    kinds = 3  # BatchNorm with running and recalibrated statistics, and GroupNorm
    assert [list(row)[:5] for row in rows] == [settings] * 2 * kinds
    assert [row["training.lr"] for row in rows] == ["0.05"] * kinds + ["0.1"] * kinds
    assert [row["net"] for row in rows] == ["scratch"] * 2 * kinds


def test_finished_points_are_not_run_again_and_interrupted_ones_go_on(folder, capsys):
    first, second = sorted(folder.glob("*.json"))
    untouched, whole = first.read_bytes(), unfinish(second)
    sweep(given(folder, *GIVEN))
    shown = capsys.readouterr().out
    assert "2 points, 1 of them finished" in shown
    assert "1/1  levels=1,widths=4,recalibration_images=32,training.lr=0.1,augment=False: finished" in shown
    assert first.read_bytes() == untouched
    again = Record.load(second)
    assert again.finished
    assert again.results == whole.results  # read, not computed: the times are the same


def test_a_point_that_fails_does_not_stop_the_others_and_is_named_in_the_end(tmp_path, capsys):
    over = ["levels=1", "widths=4", "recalibration_images=32", "train_images=5,256"]
    with pytest.raises(PointsFailed, match=r"(?s)1 of 2 points failed.*train_images=5: depth_refinement: .*continue"):
        sweep(given(tmp_path, *over))
    shown = capsys.readouterr().out
    assert "2/2  levels=1,widths=4,recalibration_images=32,train_images=256: finished" in shown


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"experiment": "depth_refinment"}, "unknown experiment 'depth_refinment'; did you mean 'depth_refinement'"),
        ({"experiment": "tables"}, "unknown experiment 'tables'"),
        ({"preset": "smok"}, "unknown preset of depth_refinement 'smok'; did you mean 'smoke'"),
    ],
)
def test_unknown_experiments_and_presets_are_answered_with_the_known_ones(settings, complaint, tmp_path):
    with pytest.raises(ValueError, match=complaint):
        sweep(given(tmp_path, "seeds=0,1", **settings))


def test_nothing_starts_where_a_later_value_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="levels must be of type int, got two"):
        sweep(given(tmp_path / "records", "training.lr=0.1", "levels=1,two"))
    assert not (tmp_path / "records").exists()


def test_the_command_line_says_in_a_line_what_cannot_be(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sweep", "depth_refinement", "smoke", "--over", "levels=1,1"])
    with pytest.raises(SystemExit, match="sweep: --over 'levels=1,1' gives levels the value 1 twice"):
        main()
    monkeypatch.setitem(sys.modules, "submitit", None)
    monkeypatch.setattr(sys, "argv", ["sweep", "depth_refinement", "smoke", "--over", "levels=1", "--jobs", "2"])
    with pytest.raises(SystemExit, match=r"sweep: jobs=2.*pip install 'odenet\[cluster\]'"):
        main()


def test_records_lie_beside_those_of_the_experiment_by_default(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Jobs, "outcomes", lambda _, points, folder: iter([(point, str(folder)) for point in points]))
    with pytest.raises(PointsFailed, match="levels=1: runs/depth_refinement/smoke-sweep/jobs"):
        sweep(Sweep(experiment="depth_refinement", preset="smoke", over=("levels=1",)))
