"""Loggers and callbacks see every epoch, callbacks may end a training, and neither changes what is trained."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric.loggers.csv_logs import CSVLogger
from torch import nn

from odenet.training import CheckpointError, EarlyStopping, EpochEnd, History, fit
from tests.training_cases import SETTINGS, TASK, evaluation_batches, noisy_net, train_batches, without_clock

LONG = replace(SETTINGS, epochs=6)


def train(folder: Path, net: nn.Module | None = None, **options: Any) -> History:
    net = noisy_net() if net is None else net
    batches = (train_batches(), evaluation_batches())
    return fit(net, TASK, *batches, options.pop("settings", SETTINGS), seed=5, folder=folder, quiet=True, **options)


class Kept:
    """Logger that keeps what it is given."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.rows: list[dict[str, float]] = []
        self.statuses: list[str] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.steps.append(step)
        self.rows.append(metrics)

    def finalize(self, status: str) -> None:
        self.statuses.append(status)


def test_a_logger_gets_the_row_of_each_epoch_and_its_end(tmp_path):
    kept = Kept()
    history = train(tmp_path, loggers=[kept])
    assert kept.steps == [1, 2, 3]
    assert [row | {"epoch": step} for step, row in zip(kept.steps, kept.rows, strict=True)] == history.rows
    assert kept.statuses == ["success"]


def test_fabrics_logger_leaves_a_table(tmp_path):
    history = train(tmp_path / "net", loggers=[CSVLogger(tmp_path / "logs", name="csv")])
    with (tmp_path / "logs" / "csv" / "version_0" / "metrics.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(row["test_loss"]) for row in table] == history.column("test_loss")


def test_a_log_of_a_training_that_goes_on_is_whole(tmp_path):
    def breaks(end: EpochEnd) -> None:
        if len(end.rows) == 3:
            raise KeyboardInterrupt

    first, second, third = Kept(), Kept(), Kept()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, loggers=[first], callbacks=[breaks], settings=LONG)
    assert (first.steps, first.statuses) == ([1, 2, 3], ["failed"])
    train(tmp_path, loggers=[second], settings=LONG)
    train(tmp_path, loggers=[third], settings=LONG)
    assert second.steps == third.steps == [1, 2, 3, 4, 5, 6]


def test_callbacks_change_nothing_that_is_trained(tmp_path):
    def meddles(end: EpochEnd) -> None:
        torch.rand(3)
        end.model.eval()

    plain, watched = noisy_net(), noisy_net()
    history = train(tmp_path / "a", plain)
    assert without_clock(train(tmp_path / "b", watched, callbacks=[meddles], loggers=[Kept()]).rows) == without_clock(
        history.rows
    )
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), watched.parameters(), strict=True))


def test_a_callback_sees_the_rows_so_far_and_ends_the_training_by_true(tmp_path):
    seen, called = [], []

    def second(end: EpochEnd) -> bool:
        seen.append((len(end.rows), end.row["epoch"], end.epochs))
        return len(end.rows) == 2

    history = train(tmp_path, settings=LONG, callbacks=[second, called.append])
    assert seen == [(1, 1, 6), (2, 2, 6)]
    assert len(called) == len(history.rows) == 2


def test_a_training_that_was_ended_is_complete_and_read_back(tmp_path):
    net, again, kept = noisy_net(), noisy_net(), Kept()
    history = train(tmp_path, net, settings=LONG, callbacks=[lambda end: len(end.rows) == 2])
    assert train(tmp_path, again, settings=LONG, callbacks=[pytest.fail], loggers=[kept]).rows == history.rows
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))
    assert kept.steps == [1, 2]


def test_a_training_that_is_followed_on_validation_and_ended_early_is_tested_at_its_end(tmp_path):
    history = train(tmp_path, validation=evaluation_batches(), callbacks=[lambda end: len(end.rows) == 2])
    assert [sorted(name for name in row if name.startswith("test_")) for row in history.rows] == [
        [],
        ["test_accuracy", "test_loss"],
    ]


def test_a_training_with_another_rule_does_not_take_the_checkpoint(tmp_path):
    train(tmp_path, callbacks=[EarlyStopping("test_loss", patience=3)])
    train(tmp_path, callbacks=[EarlyStopping("test_loss", patience=3)])
    with pytest.raises(CheckpointError, match="callbacks"):
        train(tmp_path, callbacks=[EarlyStopping("test_loss", patience=2)])


def stops_after(values: list[float], rule: EarlyStopping) -> int | None:
    rows = [{rule.metric: value} for value in values]
    ends = [k for k in range(1, len(rows) + 1) if rule(EpochEnd(nn.Identity(), rows[:k], len(rows)))]
    return ends[0] if ends else None


@pytest.mark.parametrize(
    ("values", "rule", "epoch"),
    [
        ([3, 2, 1, 0], EarlyStopping("test_loss", patience=1), None),
        ([1, 1], EarlyStopping("test_loss", patience=1), 2),
        ([1, 2, 2, 0.5, 2, 2, 2], EarlyStopping("test_loss", patience=3), 7),
        ([1, 2, 3, 4], EarlyStopping("test_accuracy", patience=1), None),
        ([4, 3, 2, 1], EarlyStopping("test_accuracy", patience=2), 3),
        ([4, 3, 2, 1], EarlyStopping("test_error", patience=2, better="smaller"), None),
        ([1, 0.95, 0.9], EarlyStopping("test_loss", patience=2, least=0.2), 3),
        ([1, 0.85, 0.7], EarlyStopping("test_loss", patience=2, least=0.2), None),
    ],
)
def test_early_stopping_waits_its_patience_for_an_improvement(values, rule, epoch):
    assert stops_after(values, rule) == epoch


def test_early_stopping_of_a_metric_that_is_not_there_names_those_that_are(tmp_path):
    with pytest.raises(ValueError, match=r"unknown metric of EarlyStopping 'val_loss'; .*test_loss"):
        train(tmp_path, callbacks=[EarlyStopping("val_loss")])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"loggers": ["csv"]}, r"loggers has 'csv', which has no method log_metrics.*CSVLogger"),
        ({"callbacks": ["stop"]}, r"callbacks has 'stop', which cannot be called: pass functions of an EpochEnd"),
        ({"callbacks": EarlyStopping("test_loss")}, r"callbacks must be a list or tuple, got EarlyStopping"),
        ({"loggers": Kept}, r"loggers must be a list or tuple"),
    ],
)
def test_what_is_no_logger_or_callback_is_refused_before_the_training(options, said, tmp_path):
    with pytest.raises(TypeError, match=said):
        train(tmp_path, **options)
    assert not list(tmp_path.iterdir())
