"""Tests of a trained ODE-Net at other tolerances: the rows agree with what the solver does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from experiments.support.tolerances import at_tolerances
from odenet import Adaptive, ContinuousAdjoint, FixedSteps, ODEBlock, configure
from odenet.data import ImageData, Split
from odenet.models import ode_net
from odenet.models.odenet import FlowClassifier


def noise(seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (8, 1, 24, 24), dtype=torch.uint8, generator=generator)
    return Split(images, torch.randint(10, (8,), generator=generator))


DATA = ImageData("noise", noise(0), noise(1), tuple("0123456789"))
TOLERANCES = (1e-1, 1e-3)


def net() -> FlowClassifier:
    torch.manual_seed(0)
    return ode_net(channels=4)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return at_tolerances(net(), DATA, TOLERANCES, images=2, test_images=8, repetitions=1)


def test_a_smaller_tolerance_takes_more_evaluations_and_is_nearer_to_the_flow(rows):
    loose, tight = rows
    assert [row["tolerance"] for row in rows] == list(TOLERANCES)
    assert loose["forward"] < tight["forward"]
    assert loose["backward"] < tight["backward"]
    assert tight["numerical_error"] < loose["numerical_error"] / 2
    for method in ("adjoint", "checkpointed"):
        assert tight["gradient_error"][method] < loose["gradient_error"][method] / 2


def test_the_memory_of_the_adjoint_does_not_depend_on_the_tolerance_and_that_of_backprop_does(rows):
    loose, tight = (row["flow_bytes"] for row in rows)
    assert tight["adjoint"] < 1.01 * loose["adjoint"]
    assert tight["backprop"] > 1.2 * loose["backprop"]
    assert tight["checkpointed"] < tight["backprop"]


def test_the_net_is_as_it_was(rows):
    model, before = net(), net()
    at_tolerances(model, DATA, (1e-2,), images=4, test_images=8, repetitions=1)
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in model.state_dict().items())
    assert isinstance(model.flow, ODEBlock)
    assert model.flow.stepping == Adaptive("dopri5", 1e-3, 1e-3)
    assert isinstance(model.flow.gradient, ContinuousAdjoint)
    assert len(rows) == 2


def test_the_test_error_is_that_of_the_first_test_images(rows):
    with torch.no_grad():
        images, labels = next(DATA.test_batches(8).epoch(0))
        model = net()
        configure(model, stepping=FixedSteps("rk4", 50))
        wrong = (model.eval()(images).argmax(dim=1) != labels).float().mean()
    assert rows[1]["test_error"] == pytest.approx(float(wrong), abs=1e-6)


def test_a_net_without_an_ode_block_has_no_tolerance():
    model = FlowClassifier(nn.Identity(), 10, 1, 4)
    with pytest.raises(ValueError, match="without an ODEBlock"):
        at_tolerances(model, DATA, TOLERANCES, images=4, test_images=8, repetitions=1)
