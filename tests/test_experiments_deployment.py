"""Answers under other steppings: measured on all test images, for each kind of statistics, with the net as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from experiments.depth_refinement import PRESETS
from experiments.support.crossed import Cell, crossed_net
from experiments.support.deployment import accuracy_by_batch, compare_steppings, near_exact
from odenet import RK4, Euler, FixedSteps
from odenet.data import ImageData, load
from odenet.measure import distance_to_flow
from odenet.models import ResNet
from odenet.training import Classification, evaluate

SMOKE = PRESETS["smoke"]
EULER = FixedSteps(Euler())


@pytest.fixture(scope="module")
def data() -> ImageData:
    """Return the digits with 100 test images."""
    digits = load("digits")
    return replace(digits, test=digits.test.first(100))


def net(data: ImageData, normalization: str = "group") -> ResNet:
    torch.manual_seed(0)
    cell = Cell("batch" if normalization == "batch" else "group")
    return crossed_net(SMOKE, data, 2, 1, cell).eval()


def test_accuracy_and_distance_are_those_of_the_library(data):
    model = net(data)
    found = compare_steppings(model, {"flow": near_exact(model), "own": EULER}, data, 64)["none"]
    images, _ = next(iter(data.test_batches(100).epoch(0)))
    assert found["own"]["distance"] == pytest.approx(distance_to_flow(model, images, near_exact(model)), rel=1e-4)
    assert found["own"]["accuracy"] == pytest.approx(
        evaluate(model, Classification(10), data.test_batches(100))["accuracy"]
    )
    assert found["flow"]["distance"] == 0
    assert found["flow"]["agreement"] == 1
    assert found["own"]["evaluations"] == 4


def test_a_net_with_batchnorm_is_measured_with_both_kinds_of_statistics_and_left_as_it_was(data):
    model = net(data, "batch")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = compare_steppings(model, {"own": EULER, "rk4": FixedSteps(RK4())}, data, 64)
    assert list(found) == ["running", "recalibrated"]
    assert found["running"]["rk4"] != found["recalibrated"]["rk4"]
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not model.training


def test_normalizing_by_batches_leaves_the_statistics_as_they_were(data):
    model = net(data, "batch")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert 0 <= accuracy_by_batch(model, EULER, data) <= 1
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_the_near_exact_flow_takes_four_steps_of_rk4_a_unit_of_time_and_at_least_one_a_piece(data):
    assert near_exact(crossed_net(SMOKE, data, 2, 1)) == FixedSteps(RK4(), per_piece=2)
    assert near_exact(crossed_net(SMOKE, data, 8, 1)) == FixedSteps(RK4(), per_piece=1)
    assert near_exact(crossed_net(SMOKE, data, 2, 2)) == FixedSteps(RK4(), per_piece=4)
