"""The nets of the crossed experiments differ in the factors of their cells and in nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from experiments.depth_refinement import PRESETS, coarse_cells
from experiments.support.crossed import STEPPINGS, Cell, crossed_net, with_rates
from odenet import Nonnegative, ODEBlock
from odenet.data import load
from odenet.measure import theta_roughness
from odenet.training.optimizers import make_optimizer

SMOKE = PRESETS["smoke"]


@pytest.fixture(scope="module")
def data():
    """Return the digits."""
    return load("digits")


def flows(net: nn.Module) -> list[ODEBlock]:
    return [module for module in net.modules() if isinstance(module, ODEBlock)]


def test_a_cell_chooses_normalization_initialization_and_stepping(data):
    torch.manual_seed(0)
    net = crossed_net(SMOKE, data, 4, 1, Cell("group", "tied", "mixed"))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    assert all(theta_roughness(block.theta) == [0, 0, 0] for block in flows(net))
    assert all(block.stepping == STEPPINGS["mixed"] for block in flows(net))
    assert all((block.theta.horizon, block.theta.number_of_pieces) == (1, 4) for block in flows(net))


def test_the_default_is_a_resnet_of_independent_layers_with_batchnorm(data):
    torch.manual_seed(0)
    net = crossed_net(SMOKE, data, 2, 2)
    assert any(isinstance(module, nn.BatchNorm2d) for module in flows(net)[0].modules())
    assert all(roughness > 1 for block in flows(net) for roughness in theta_roughness(block.theta))
    assert all(block.projection is None for block in flows(net))


def test_a_post_activation_net_is_projected_after_each_step(data):
    assert all(isinstance(block.projection, Nonnegative) for block in flows(crossed_net(SMOKE, data, 2, 2, post=True)))


def test_the_scaled_rate_multiplies_that_of_flows_by_one_over_h(data):
    net = crossed_net(SMOKE, data, 4, 1)
    rates = {
        group["lr"] for group in make_optimizer(net, with_rates(SMOKE, Cell(rates="scaled")).training).param_groups
    }
    lr = SMOKE.training.lr
    assert rates == {lr, 4 * lr}
    assert {group["lr"] for group in make_optimizer(net, with_rates(SMOKE, Cell()).training).param_groups} == {lr}


def test_the_coarsest_net_of_one_layer_is_trained_once_for_each_normalization():
    assert [str(cell) for cell in coarse_cells(SMOKE)] == ["batch-independent-euler-one", "group-independent-euler-one"]
