"""Settings of a training are refused outside their bounds, and the command line is made from them."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import pytest
import torch
import tyro

from odenet.training import Training
from odenet.training.optimizers import OPTIMIZERS, make_optimizer
from odenet.training.schedules import Schedule
from odenet.training.settings import OptimizerName, ScheduleName


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs", 0, "epochs must be .*, got 0: a training passes over its data at least once"),
        ("batch_size", 0, "batch_size must be .*, got 0: a batch holds at least one image"),
        ("threads", 0, "threads must be .*, got 0: at least one thread computes"),
        ("processes", 0, "processes must be .*, got 0: at least one process trains"),
        ("lr", 0.0, "lr must be positive and finite, got 0.0: it scales the steps"),
        ("lr", float("nan"), "lr must be positive and finite, got nan"),
        ("lr", float("inf"), "lr must be positive and finite, got inf"),
        ("momentum", 1.0, "momentum must be ≥ 0 and < 1, got 1.0: it is the decay rate"),
        ("weight_decay", -1e-4, "weight_decay must be ≥ 0 and finite, got -0.0001: use 0"),
        ("warmup", 1.0, "warmup must be ≥ 0 and < 1, got 1.0: it is a share of the training"),
        ("checkpoint_seconds", -1.0, "checkpoint_seconds must be ≥ 0 and finite, got -1.0: use 0"),
        ("gradient_clip", 0.0, "gradient_clip must be positive and finite, got 0.0: it is a norm; use None"),
        ("milestones", (0.5, 0.25), r"milestones must be in ascending order, .*, got \(0.5, 0.25\): they are shares"),
        ("milestones", (0.0, 0.5), r"milestones must be in ascending order, > 0 and < 1, got \(0.0, 0.5\)"),
    ],
)
def test_a_value_outside_its_bounds_is_refused_with_the_bounds(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Training(**{field: value})


@pytest.mark.parametrize("value", [1.5, True, "3"])
def test_a_count_that_is_no_whole_number_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="epochs must be a whole number, got"):
        Training(epochs=value)


@pytest.mark.parametrize(
    ("field", "typo", "right"),
    [
        ("optimizer", "adamm", "adam"),
        ("schedule", "cosin", "cosine"),
        ("decay", "weight", "weights"),
        ("precision", "bf16", "bf16-mixed"),
        ("device", "cuda:0", "cuda"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_right_one(field: str, typo: Any, right: str) -> None:
    with pytest.raises(ValueError, match=f"unknown {field} {typo!r}; did you mean {right!r}"):
        Training(**{field: typo})


def test_every_name_that_the_settings_take_is_built() -> None:
    assert set(get_args(OptimizerName)) == set(OPTIMIZERS)
    for optimizer in get_args(OptimizerName):
        make_optimizer(torch.nn.Linear(1, 1), Training(optimizer=optimizer))
    for schedule in get_args(ScheduleName):
        Schedule(Training(schedule=schedule), steps=3)


def test_the_command_line_has_every_field_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    given = tyro.cli(Training, args=["--lr", "0.3", "--optimizer", "adam", "--gradient-clip", "1", "--processes", "2"])
    assert given == Training(lr=0.3, optimizer="adam", gradient_clip=1.0, processes=2)
    with pytest.raises(SystemExit):
        tyro.cli(Training, args=["--help"])
    printed = capsys.readouterr().out
    for field in (field for field in dataclasses.fields(Training) if field.name != "groups"):
        assert f"--{field.name.replace('_', '-')}" in printed
    assert "the most that an interruption can lose" in " ".join(printed.replace("│", " ").split())
