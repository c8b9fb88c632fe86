"""Layers are counted as in the names of ResNets, parameters once each, and evaluations as a spy counts them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from odenet import RK4, Autonomous, BasicBranch, Constant, FixedSteps, ODEBlock, PiecewiseConstant
from odenet.measure import count_evaluations, count_layers, count_parameters
from odenet.models import plain110, resnet20, resnet50, resnet101, resnet152


@pytest.mark.parametrize(("net", "layers"), [(resnet20, 20), (resnet50, 50), (resnet101, 101), (plain110, 110)])
def test_a_network_has_as_many_layers_as_its_name_says(net, layers):
    assert count_layers(net()) == layers


def test_projections_of_shortcuts_are_no_layers():
    assert count_layers(resnet152()) == 152
    assert any("shortcut" in name for name, _ in resnet152().named_parameters())


def test_a_shared_parameter_counts_once_and_a_frozen_one_not_at_all():
    branch = BasicBranch(3)
    once = count_parameters(branch)
    assert count_parameters(PiecewiseConstant([branch, branch])) == once
    branch.conv1.weight.requires_grad_(False)
    assert count_parameters(branch) == once - 3 * 3 * 9


def test_evaluations_are_those_that_a_spy_sees():
    calls = 0

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return -x

    net = nn.Sequential(*(ODEBlock(Constant(Autonomous(Spy())), FixedSteps(RK4(), 3)) for _ in range(2)))
    net(torch.ones(1, 2))
    assert count_evaluations(net) == calls == 24
