"""Every experiment leaves logs of its trainings when they are asked for, in whichever process they run."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

from experiments.support.logs import log_folder, loggers
from odenet.training import Record
from tests.test_experiments import EXPERIMENTS, run


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_each_training_leaves_a_table_of_its_epochs_beside_the_record(jobs, tmp_path):
    outcome = run("experiments.depth_refinement", "smoke", "--log", "csv", "--jobs", jobs, folder=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    record = tmp_path / "runs" / "depth_refinement" / "smoke-digits.json"
    assert "logs: runs/depth_refinement/smoke-digits.json.logs\n" in outcome.stdout
    tables = sorted(log_folder(record).rglob("metrics.csv"))
    trained = [key for key in Record.load(record).results if "steps" not in key]
    assert {table.parents[2].relative_to(log_folder(record)).as_posix() for table in tables} == set(trained)
    for table in tables:
        with table.open() as file:
            (row,) = csv.DictReader(file)
        assert {"step", "train_loss", "test_loss", "test_accuracy"} <= row.keys()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_the_option(name, tmp_path):
    assert "--log" in run(f"experiments.{name}", "smoke", "--help", folder=tmp_path).stdout


def test_tensorboard_that_is_not_installed_is_a_line_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    outcome = run("experiments.depth_refinement", "smoke", "--log", "tensorboard", folder=tmp_path)
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("depth_refinement: tensorboard is needed here, but it is not installed")
    assert outcome.stderr.rstrip().endswith("run pip install 'odenet[log]'.")


def test_tensorboard_gets_a_file_of_events(tmp_path):
    pytest.importorskip("tensorboard", reason="needs tensorboard: pip install 'odenet[log]'")
    (logger,) = loggers(["tensorboard"], tmp_path / "record.json", "seed0/net")
    logger.log_metrics({"loss": 0.5}, step=1)
    logger.finalize("success")
    assert list((log_folder(tmp_path / "record.json") / "seed0" / "net").rglob("events.out.tfevents.*"))


def test_the_folder_of_logs_is_beside_the_record():
    assert log_folder(Path("runs/a/cpu.json")) == Path("runs/a/cpu.json.logs")
