"""Learning rates over a training follow their formulas."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from odenet.training import Training
from odenet.training.schedules import Schedule
from odenet.training.settings import ScheduleName

NAMES: tuple[ScheduleName, ...] = ("constant", "cosine", "one-cycle", "steps")


def rates(steps: int, **settings: Any) -> list[float]:
    schedule = Schedule(Training(**settings), steps)
    return [schedule(step) for step in range(steps)]


def test_cosine_is_that_of_torch() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40)
    expected = []
    for _ in range(40):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    assert rates(40, lr=0.3, schedule="cosine", warmup=0.0) == pytest.approx(expected, rel=1e-12)


def test_one_cycle_is_a_triangle_with_its_peak_at_lr() -> None:
    assert rates(10, lr=1.0, schedule="one-cycle", warmup=0.4) == pytest.approx(
        [1 / 4, 2 / 4, 3 / 4, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    )


def test_steps_are_those_of_he_et_al_at_32k_and_48k_of_64k() -> None:
    schedule = Schedule(Training(lr=0.1, schedule="steps", warmup=0.0), 64_000)
    assert [schedule(step) for step in (0, 31_999)] == [0.1, 0.1]
    assert [schedule(step) for step in (32_000, 47_999)] == pytest.approx([0.01, 0.01])
    assert [schedule(step) for step in (48_000, 63_999)] == pytest.approx([0.001, 0.001])


def test_milestones_may_be_elsewhere() -> None:
    assert rates(4, lr=1.0, schedule="steps", warmup=0.0, milestones=(0.25,)) == pytest.approx([1, 0.1, 0.1, 0.1])


def test_constant_stays_at_lr() -> None:
    assert rates(7, lr=0.2, schedule="constant", warmup=0.0) == [0.2] * 7


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 2, 3, 17])
@pytest.mark.parametrize("warmup", [0.0, 0.3, 0.99])
def test_no_step_is_without_a_learning_rate_nor_above_lr(name: ScheduleName, steps: int, warmup: float) -> None:
    values = rates(steps, lr=0.5, schedule=name, warmup=warmup)
    assert all(0 < value <= 0.5 and math.isfinite(value) for value in values)


@pytest.mark.parametrize("name", NAMES)
def test_every_schedule_warms_up_linearly(name: ScheduleName) -> None:
    values = rates(100, lr=1.0, schedule=name, warmup=0.2, milestones=(0.5,))
    assert values[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
