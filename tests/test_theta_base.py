"""Constant, piecewise constant and piecewise linear θ evaluate the right nodes on every piece."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from odenet import (
    Autonomous,
    BasicBranch,
    Constant,
    FixedSteps,
    Heun,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    Theta,
    group_norm,
)
from odenet.blocks.theta.base import Time
from tests.laws import ThetaLaws, logistic_nodes, states
from tests.problems import Logistic


class TestConstant(ThetaLaws):
    def make(self, nodes: Sequence[nn.Module], horizon: float | None = None) -> Theta:
        return Constant(nodes[-1], horizon)


class TestPiecewiseConstant(ThetaLaws):
    def make(self, nodes: Sequence[nn.Module], horizon: float | None = None) -> Theta:
        return PiecewiseConstant(nodes, horizon)


class TestPiecewiseLinear(ThetaLaws):
    min_nodes = 2

    def make(self, nodes: Sequence[nn.Module], horizon: float | None = None) -> Theta:
        return PiecewiseLinear(nodes, horizon)


@pytest.mark.parametrize("horizon", [0, -1.0, math.nan, math.inf, -math.inf, True, "1", 1j, [1.0]], ids=repr)
def test_a_horizon_that_is_not_a_positive_number_is_refused_at_construction_and_assignment(horizon: Any) -> None:
    with pytest.raises(ValueError, match=r"horizon = .*pass a positive real number"):
        Constant(*logistic_nodes(1), horizon=horizon)
    theta = Constant(*logistic_nodes(1), horizon=2.0)
    with pytest.raises(ValueError, match=r"horizon = .*pass a positive real number"):
        theta.horizon = horizon
    assert theta.horizon == 2.0


@given(st.floats(1e-6, 1e6), st.integers(1, 300))
def test_pieces_cover_every_horizon_exactly(horizon: float, n: int) -> None:
    pieces = list(PiecewiseConstant([Autonomous(nn.Identity()) for _ in range(n)], horizon).pieces())
    assert (pieces[0].start, pieces[-1].end) == (0, horizon)
    assert all(a.end == b.start and a.start < a.end for a, b in pairwise(pieces))


def test_constant_has_one_branch_and_a_horizon_of_one() -> None:
    theta = Constant(Logistic(1.0))
    assert (theta.number_of_pieces, theta.horizon) == (1, 1.0)


def test_piecewise_constant_has_node_i_on_piece_i() -> None:
    nodes = logistic_nodes(5)
    for node, piece in zip(nodes, PiecewiseConstant(nodes).pieces(), strict=True):
        assert piece.field is node
        assert piece.nodes == (node,)


def test_state_dicts_read_like_those_of_a_residual_network() -> None:
    names = ODEBlock(PiecewiseConstant([BasicBranch(2) for _ in range(4)])).state_dict().keys()
    assert "theta.nodes.3.conv1.weight" in names
    assert "theta.nodes.0.norm2.running_var" in names
    assert len(names) == 4 * (2 + 2 * 5)


@pytest.mark.parametrize("kind", [PiecewiseConstant, PiecewiseLinear])
def test_too_few_nodes_are_refused(kind: type[Theta]) -> None:
    nodes = logistic_nodes(kind.min_nodes)[1:]
    with pytest.raises(ValueError, match=rf"{kind.__name__} was given {len(nodes)} nodes; .* at least .*add branches"):
        kind(nodes)


def test_a_theta_may_be_built_from_a_generator() -> None:
    assert len(PiecewiseConstant(Logistic(float(i)) for i in range(3)).nodes) == 3


class Recorded(nn.Module):
    """A branch that records the tensors with which it is evaluated."""

    seen: list[torch.Tensor]
    mean: torch.Tensor
    count: torch.Tensor

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([value, -2 * value], dtype=torch.float64))
        self.register_buffer("mean", torch.tensor(10 * value, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(3))

    def forward(self, t: Time, x: torch.Tensor) -> torch.Tensor:
        Recorded.seen = [tensor.detach().clone() for tensor in (self.weight, self.mean, self.count)]
        return x * self.weight


def test_at_its_nodes_piecewise_linear_has_their_tensors_exactly() -> None:
    nodes = [Recorded(value) for value in (0.3, 0.9, -1.3)]  # 0.3 + (0.9 - 0.3) is not 0.9
    for index, piece in enumerate(PiecewiseLinear(nodes, horizon=0.3).pieces()):
        for node, t in ((nodes[index], piece.start), (nodes[index + 1], piece.end)):
            piece.field(t, states())
            assert torch.equal(Recorded.seen[0], node.weight)
            assert torch.equal(Recorded.seen[1], node.mean)


@pytest.mark.parametrize("s", [0.25, 0.5, 0.9])
def test_between_its_nodes_parameters_and_statistics_move_linearly(s: float) -> None:
    left, right = Recorded(1.0), Recorded(3.0)
    (piece,) = PiecewiseLinear([left, right], horizon=2.0).pieces()
    for t in (2.0 * s, torch.tensor(2.0 * s)):
        piece.field(t, states())
        weight, mean, count = Recorded.seen
        torch.testing.assert_close(weight, torch.tensor([1 + 2 * s, -2 - 4 * s], dtype=torch.float64))
        torch.testing.assert_close(mean, torch.tensor(10 + 20 * s, dtype=torch.float64))
        assert count == 3


def test_both_nodes_of_a_piece_get_a_gradient() -> None:
    left, right = Recorded(1.0), Recorded(3.0)
    (piece,) = PiecewiseLinear([left, right]).pieces()
    piece.field(0.25, torch.ones(1, 2, dtype=torch.float64)).sum().backward()
    assert left.weight.grad is not None
    assert right.weight.grad is not None
    torch.testing.assert_close(left.weight.grad, torch.full((2,), 0.75, dtype=torch.float64))
    torch.testing.assert_close(right.weight.grad, torch.full((2,), 0.25, dtype=torch.float64))


def test_equal_nodes_make_piecewise_linear_constant() -> None:
    node = MLPBranch(2).double()
    flows = [
        ODEBlock(theta, FixedSteps(Heun(), 3))(states())
        for theta in (PiecewiseLinear([node] * 3), PiecewiseConstant([node] * 2))
    ]
    torch.testing.assert_close(*flows, rtol=1e-14, atol=1e-14)


def test_batch_norm_between_two_nodes_normalizes_by_the_batch_and_moves_the_nearer_node_more() -> None:
    nodes = [BasicBranch(2) for _ in range(2)]
    (piece,) = PiecewiseLinear(nodes).pieces()
    middle, x = copy.deepcopy(nodes[0]), torch.randn(8, 2, 4, 4)
    parameters = zip(middle.parameters(), nodes[0].parameters(), nodes[1].parameters(), strict=True)
    with torch.no_grad():
        for ours, first, second in parameters:
            ours.copy_(0.75 * first + 0.25 * second)
        torch.testing.assert_close(piece.field(0.25, x), middle(0.0, x))
    change, *moved = (node.norm1.get_buffer("running_mean") for node in (middle, *nodes))
    torch.testing.assert_close(moved, [0.75 * change, 0.25 * change])
    assert all(node.norm1.get_buffer("running_var").min() > 0 and node.norm1.num_batches_tracked == 1 for node in nodes)


def test_batch_norm_between_two_nodes_is_interpolated_in_evaluation() -> None:
    torch.manual_seed(0)
    nodes = [BasicBranch(2).double() for _ in range(2)]
    middle = BasicBranch(2).double().eval()
    for node in nodes:
        node(0.0, torch.randn(8, 2, 4, 4, dtype=torch.float64))
    first, second = (node.state_dict() for node in nodes)
    middle.load_state_dict({name: (first[name] + second[name]) / 2 for name in first})
    (piece,) = PiecewiseLinear(nodes).eval().pieces()
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(piece.field(0.5, x), middle(0.5, x))


def test_evaluating_between_nodes_leaves_the_nodes_as_they_were() -> None:
    block = ODEBlock(PiecewiseLinear([BasicBranch(2) for _ in range(2)])).eval()
    before = {name: tensor.clone() for name, tensor in block.state_dict().items()}
    block(torch.randn(2, 2, 4, 4))
    assert all(torch.equal(tensor, before[name]) for name, tensor in block.state_dict().items())


def test_group_norm_trains_between_nodes() -> None:
    block = ODEBlock(PiecewiseLinear([BasicBranch(2, norm=group_norm) for _ in range(3)]))
    block(torch.randn(2, 2, 4, 4)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in block.parameters())


@pytest.mark.parametrize(
    ("other", "name", "found"),
    [
        (MLPBranch(2, hidden=3), "net.0.bias", r"\(\(4,\), torch.float32\) and \(\(3,\), torch.float32\)"),
        (MLPBranch(2, hidden=4).double(), "net.0.bias", r"\(\(4,\), torch.float32\) and \(\(4,\), torch.float64\)"),
        (MLPBranch(2, hidden=4, layers=2), "net.2.bias", r"\(\(2,\), torch.float32\) and \(\(4,\), torch.float32\)"),
        (Logistic(1.0), "net.0.bias", r"\(\(4,\), torch.float32\) and None"),
    ],
    ids=["shape", "dtype", "depth", "kind"],
)
def test_nodes_that_cannot_be_interpolated_are_refused(other: nn.Module, name: str, found: str) -> None:
    nodes = [MLPBranch(2, hidden=4), MLPBranch(2, hidden=4), other]
    with pytest.raises(ValueError, match=rf"nodes 0 and 2 of PiecewiseLinear differ in '{name}': {found}"):
        PiecewiseLinear(nodes)
