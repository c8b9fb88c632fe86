"""The roughness of θ and of the state is zero for equal neighbours and √2 for unrelated ones."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from odenet import Autonomous, FixedSteps, Heun, MLPBranch, ODEBlock, PiecewiseConstant, refine_steps, refine_theta
from odenet.measure import state_roughness, theta_roughness, visited_states
from tests.laws import logistic_nodes, states


def drift(*speeds: float) -> ODEBlock:
    """Build a block whose nodes are constant vector fields of these speeds."""
    nodes = []
    for speed in speeds:
        layer = nn.Linear(2, 2)
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, speed)
        nodes.append(Autonomous(layer))
    return ODEBlock(PiecewiseConstant(nodes))


def test_unrelated_nodes_are_the_square_root_of_two_apart():
    torch.manual_seed(0)
    nodes = [MLPBranch(50, hidden=400) for _ in range(3)]
    assert theta_roughness(PiecewiseConstant(nodes)) == pytest.approx([math.sqrt(2)] * 2, rel=0.02)


def test_nodes_of_opposite_weights_are_two_apart_and_of_double_ones_two_thirds():
    node = MLPBranch(2)
    opposite, double = copy.deepcopy(node), copy.deepcopy(node)
    with torch.no_grad():
        for ours, theirs, twice in zip(node.parameters(), opposite.parameters(), double.parameters(), strict=True):
            theirs.copy_(-ours)
            twice.copy_(2 * ours)
    assert theta_roughness(PiecewiseConstant([node, opposite])) == pytest.approx([2])
    assert theta_roughness(PiecewiseConstant([node, double])) == pytest.approx([2 / 3])


def test_biases_and_scales_do_not_count():
    nodes = [nn.BatchNorm1d(3), nn.Linear(3, 3)]
    first, second = (Autonomous(nn.Sequential(*map(copy.deepcopy, nodes))) for _ in range(2))
    nn.init.constant_(second.get_parameter("module.0.weight"), 9.0)
    nn.init.constant_(second.get_parameter("module.1.bias"), 9.0)
    assert theta_roughness(PiecewiseConstant([first, second])) == [0]


def test_a_refined_theta_is_smooth_at_every_second_node():
    block = refine_theta(refine_steps(ODEBlock(PiecewiseConstant([MLPBranch(2) for _ in range(3)]))))
    found = theta_roughness(block.theta)
    assert found[::2] == [0, 0, 0]
    assert min(found[1::2]) > 0.5


def test_the_states_are_those_between_the_steps():
    nodes = logistic_nodes(3)
    block, x = ODEBlock(PiecewiseConstant(nodes)), states()
    expected = [x]
    for node in nodes:
        expected.append(expected[-1] + node(0.0, expected[-1]))
    found = visited_states(block, x)
    assert len(found) == 4
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert len(visited_states(ODEBlock(PiecewiseConstant(nodes), FixedSteps(Heun(), 2)), x)) == 3 * 2 * 2 + 1


def test_a_node_that_is_used_twice_is_noted_twice_and_hooks_are_gone_afterwards():
    (node,) = logistic_nodes(1)
    block = ODEBlock(PiecewiseConstant([node, node]))
    assert len(visited_states(block, states())) == len(visited_states(block, states())) == 3
    assert not node._forward_pre_hooks


def test_the_state_is_smooth_where_it_moves_on_and_rough_where_it_turns_back():
    x = torch.zeros(1, 2)
    assert state_roughness(drift(0.5, 0.5, 0.5), x) == pytest.approx([0, 0])
    assert state_roughness(drift(0.5, -0.5), x) == pytest.approx([2])
    assert state_roughness(drift(1.0, 3.0), x) == pytest.approx([1])


def test_smaller_steps_of_a_smooth_field_are_smoother_in_proportion():
    block = ODEBlock(PiecewiseConstant(logistic_nodes(1)))
    found = [max(state_roughness(refine_steps(block, n), states())) for n in (16, 32)]
    assert found[0] / found[1] == pytest.approx(2, rel=0.1)
