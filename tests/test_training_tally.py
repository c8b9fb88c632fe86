"""Sums over an epoch do not depend on when they are read from the device."""

from __future__ import annotations

import random

import pytest
import torch

from odenet.training.tally import Tally

STEPS = [(random.Random(i).random(), random.Random(-i).random(), 1 + i % 3) for i in range(1, 21)]


def tally(every: int) -> Tally:
    sums = Tally()
    for i, (loss, score, n) in enumerate(STEPS, 1):
        sums.add(torch.tensor(loss), torch.tensor(score), n)
        if i % every == 0:
            sums.settle()
    sums.settle()
    return sums


def test_means_weigh_every_example_the_same() -> None:
    n = sum(n for _, _, n in STEPS)
    loss, score = tally(1).means()
    assert loss == pytest.approx(sum(n * loss for loss, _, n in STEPS) / n)
    assert score == pytest.approx(sum(n * score for _, score, n in STEPS) / n)


@pytest.mark.parametrize("every", [2, 3, 7, 100])
def test_sums_are_the_same_bit_for_bit_however_often_they_are_read(every: int) -> None:
    assert tally(every).to_json_data() == tally(1).to_json_data()


def test_plain_data_hold_all_of_it() -> None:
    assert Tally.from_json_data(tally(1).to_json_data()).to_json_data() == tally(1).to_json_data()


def test_the_first_loss_that_is_not_finite_is_found_among_the_pending_ones() -> None:
    for losses, place in (
        ([1.0, 2.0, 3.0], None),
        ([1.0, float("nan")], 0),
        ([1.0, float("inf"), float("nan"), 1.0], 2),
    ):
        sums = Tally()
        for loss in losses:
            sums.add(torch.tensor(loss), torch.tensor(0.0), 1)
        assert sums.settle() == place


def test_an_empty_tally_has_means_of_zero() -> None:
    assert Tally().settle() is None
    assert Tally().means() == (0.0, 0.0)
