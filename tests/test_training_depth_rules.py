"""With a depth rule, a step of the optimizer moves the function θ(t), whatever the number of layers."""

from __future__ import annotations

import re
from functools import partial
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn, optim

from odenet import (
    RK4,
    BasicBranch,
    Constant,
    FixedSteps,
    Galerkin,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    Spline,
    Theta,
    refine_steps,
    refine_theta,
)
from odenet.blocks.theta.base import FieldOfPiece, Time
from odenet.models import cifar_resnet
from odenet.models.resnet import residual_flow
from odenet.training import Training, refine_optimizer_state
from odenet.training.depth_rules import RULES, Factors, depth_factors, node_lengths
from odenet.training.optimizers import make_optimizer
from odenet.training.settings import DepthRule, OptimizerName

OPTIMIZERS: tuple[OptimizerName, ...] = get_args(OptimizerName)


class Drift(nn.Module):
    """Branch F(t, x) = b, whose gradient is the integral of its basis function for every b."""

    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.randn(2, dtype=torch.float64))

    def forward(self, t: Time, x: Tensor) -> Tensor:
        return self.b.expand_as(x)


class ThereAndBack(Theta):
    """θ(t) = θ(T - t): each node is evaluated on two pieces."""

    @property
    def number_of_pieces(self) -> int:
        return 2 * len(self.nodes)

    def field_of_piece(self, index: int, start: float, end: float) -> FieldOfPiece:
        node = self.nodes[min(index, self.number_of_pieces - 1 - index)]
        return node, (node,)


def drifts(pieces: int, horizon: float = 1.0) -> ODEBlock:
    torch.manual_seed(0)
    return ODEBlock(PiecewiseConstant([Drift() for _ in range(pieces)], horizon))


def train(block: nn.Module, optimizer: optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        x = torch.zeros(1, 2, dtype=torch.float64)
        (block(x) * torch.tensor([step + 1.0, -2.0])).sum().backward()
        optimizer.step()


H, ROOT = 1 / 8, 8**-0.5
TABLE: dict[DepthRule, tuple[Factors, Factors, Factors]] = {
    "1/h": (Factors(8), Factors(8), Factors(8)),
    "completep": (Factors(8, H), Factors(1, H, H), Factors(1, 1, H)),
    "1/sqrt(L)": (Factors(), Factors(ROOT, ROOT, ROOT), Factors(ROOT, 1, ROOT)),
}


@pytest.mark.parametrize("rule", TABLE)
def test_the_factors_are_those_of_the_papers(rule: DepthRule) -> None:
    net = nn.Sequential(nn.Linear(2, 2), drifts(8, 8**0.5 if rule == "1/sqrt(L)" else 1.0))
    names = {f"1.theta.nodes.{j}.b" for j in range(8)}
    for optimizer, expected in zip(("sgd", "nesterov", "adam", "adamw"), (TABLE[rule][0], *TABLE[rule]), strict=True):
        found = depth_factors(net, rule, optimizer)
        assert found.keys() == names
        for factors in found.values():
            assert factors == pytest.approx(expected)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_with_completep_the_function_theta_takes_the_same_steps_on_any_number_of_layers(
    optimizer: OptimizerName,
) -> None:
    settings = Training(optimizer=optimizer, lr=0.05, depth_rule="completep", weight_decay=0.1)
    coarse = drifts(2)
    fine = refine_theta(refine_steps(coarse, 4), 4)
    for block in (coarse, fine):
        train(block, make_optimizer(block, settings), 6)
    for j, node in enumerate(fine.theta.nodes):
        torch.testing.assert_close(node.b, coarse.theta.nodes[j // 4].b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rule", ["1/h", "completep"])
@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adamw"])
def test_without_a_rule_theta_moves_less_with_more_layers_and_with_one_as_much(
    rule: DepthRule, optimizer: OptimizerName
) -> None:
    moved = {}
    for name in ("none", rule):
        for pieces in (2, 16):
            block = drifts(pieces)
            before = [parameter.detach().clone() for parameter in block.parameters()]
            make = partial(Training, optimizer=optimizer, lr=0.05, momentum=0.9, weight_decay=0.0)
            train(block, make_optimizer(block, make(depth_rule=name)), 3)
            pairs = zip(block.parameters(), before, strict=True)
            moved[name, pieces] = sum(float((b.detach() - old).norm()) for b, old in pairs) / pieces
    if optimizer != "adamw":
        assert moved["none", 16] == pytest.approx(moved["none", 2] / 8)
        assert moved[rule, 16] == pytest.approx(moved[rule, 2])
    else:  # Adam's step does not depend on the size of the gradient
        assert moved["none", 16] == pytest.approx(moved["none", 2], rel=1e-3)
        assert moved[rule, 16] == pytest.approx(moved[rule, 2] * (8 if rule == "1/h" else 1), rel=1e-3)


@pytest.mark.parametrize(
    "theta",
    [
        PiecewiseConstant([Drift() for _ in range(5)], 2.0),
        PiecewiseLinear([Drift() for _ in range(5)], 2.0),
        Spline([Drift() for _ in range(5)], 3, 2.0),
        Constant(Drift(), 2.0),
        ThereAndBack([Drift() for _ in range(3)], 2.0),
    ],
    ids=lambda theta: type(theta).__name__,
)
def test_the_length_of_a_node_is_its_share_of_the_gradient(theta: Theta) -> None:
    block = ODEBlock(theta, FixedSteps(RK4()))
    block(torch.zeros(1, 2, dtype=torch.float64)).sum().backward()
    nodes: Any = theta.nodes
    assert node_lengths(theta) == pytest.approx([float(node.b.grad[0]) for node in nodes])
    assert sum(node_lengths(theta)) == pytest.approx(2.0)


def test_each_coefficient_of_a_series_acts_on_the_whole_horizon() -> None:
    assert node_lengths(Galerkin([Drift() for _ in range(3)], "fourier", 2.0)) == [2.0] * 3


def test_a_piece_that_is_refined_in_steps_alone_keeps_its_factor() -> None:
    block = drifts(4)
    assert depth_factors(refine_steps(block), "1/h", "sgd") == depth_factors(block, "1/h", "sgd")
    fine = depth_factors(refine_theta(refine_steps(block)), "1/h", "sgd")
    assert {factors.lr for factors in fine.values()} == {8.0}


def test_a_module_that_is_several_nodes_acts_on_all_of_their_pieces() -> None:
    shared, single = Drift(), Drift()
    factors = depth_factors(ODEBlock(PiecewiseConstant([shared, single, shared, shared], 1.0)), "1/h", "sgd")
    assert factors == {"theta.nodes.0.b": Factors(4 / 3), "theta.nodes.1.b": Factors(4.0)}


def test_lengths_of_nested_flows_are_multiplied() -> None:
    def inner() -> ODEBlock:
        return drifts(4)

    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flow = inner()

        def forward(self, t: Time, x: Tensor) -> Tensor:
            return self.flow(x)

    block = ODEBlock(PiecewiseConstant([Nested(), Nested()], 1.0))
    assert {factors.lr for factors in depth_factors(block, "1/h", "sgd").values()} == {8.0}


def test_a_parameter_that_is_also_used_outside_of_flows_has_no_factors() -> None:
    tied, net = Drift(), nn.Module()
    net.outside, net.flow = tied, ODEBlock(PiecewiseConstant([tied, Drift()], 1.0))
    assert depth_factors(net, "1/h", "sgd").keys() == {"flow.theta.nodes.1.b"}


def test_any_network_of_flows_gets_factors_from_its_own_horizon_and_pieces() -> None:
    net = cifar_resnet(4, widths=(2, 3), activation="pre", flow=partial(residual_flow, horizon=1.0))
    factors = depth_factors(net, "1/h", "sgd")
    lr = {name.partition(".theta")[0]: factor.lr for name, factor in factors.items()}
    assert sorted(lr.values()) == pytest.approx([3.0, 4.0])
    assert not any(name.startswith(("stem", "head", "finish")) or ".branch." in name for name in factors)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_theta_that_refuses_to_be_evaluated_in_training_still_has_lengths(batch_norm: bool) -> None:
    norm = nn.BatchNorm2d if batch_norm else nn.Identity
    theta = PiecewiseLinear([BasicBranch(2, norm=norm) for _ in range(3)], 1.0).train()
    assert node_lengths(theta) == [0.25, 0.5, 0.25]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("rule", ["1/h", "completep"])
def test_after_a_refinement_the_groups_are_those_of_the_finer_net(rule: DepthRule, optimizer: OptimizerName) -> None:
    torch.manual_seed(0)
    flow = ODEBlock(Spline([MLPBranch(2) for _ in range(5)], 2, 1.0), FixedSteps(RK4()))
    coarse = nn.Sequential(nn.Linear(2, 2), flow)
    fine = refine_theta(refine_steps(coarse))
    settings = Training(optimizer=optimizer, depth_rule=rule, weight_decay=0.1)
    found = refine_optimizer_state(make_optimizer(coarse, settings), coarse, fine)
    expected = make_optimizer(fine, settings)

    def options(optimizer: optim.Optimizer) -> dict[str, tuple[float, ...]]:
        names = {id(parameter): name for name, parameter in fine.named_parameters()}
        return {
            names[id(parameter)]: (group["lr"], group["weight_decay"], group.get("eps", 0.0))
            for group in optimizer.param_groups
            for parameter in group["params"]
        }

    assert options(found).keys() == options(expected).keys()
    for name, values in options(found).items():
        assert values == pytest.approx(options(expected)[name])
    assert [group.get("depth_rule") for group in found.param_groups].count(rule) >= 1


@pytest.mark.parametrize("optimizer", ["nesterov", "adam", "adamw"])
def test_a_refined_training_with_a_rule_goes_on_without_a_jump(optimizer: OptimizerName) -> None:
    coarse = drifts(3)
    descent = make_optimizer(coarse, Training(optimizer=optimizer, lr=0.05, depth_rule="completep", weight_decay=0.1))
    train(coarse, descent, 4)
    fine = refine_theta(refine_steps(coarse))
    refined = refine_optimizer_state(descent, coarse, fine)
    train(coarse, descent, 3)
    train(fine, refined, 3)
    for j, node in enumerate(fine.theta.nodes):
        torch.testing.assert_close(node.b, coarse.theta.nodes[j // 2].b, rtol=1e-8, atol=1e-10)


def test_a_refinement_that_the_rule_does_not_suit_is_refused() -> None:
    coarse = drifts(4, 2.0)
    descent = make_optimizer(coarse, Training(optimizer="adamw", depth_rule="1/sqrt(L)"))
    with pytest.raises(ValueError, match=re.escape("set theta.horizon = 8 ** 0.5")):
        refine_optimizer_state(descent, coarse, refine_theta(refine_steps(coarse)))


def test_the_rule_of_square_roots_refuses_another_horizon() -> None:
    with pytest.raises(ValueError, match=r"multiplies its L = 8 branches by T/L = 0.125 instead of 1/√L = 0.3536: set"):
        depth_factors(drifts(8), "1/sqrt(L)", "sgd")


@pytest.mark.parametrize("rule", sorted(RULES.keys() - {"none"}))
def test_a_net_without_flows_is_refused(rule: DepthRule) -> None:
    with pytest.raises(ValueError, match=r"no parameter of this Linear belongs to a flow alone.*Use depth_rule='none'"):
        depth_factors(nn.Linear(2, 2), rule, "sgd")


def test_an_unknown_rule_is_refused() -> None:
    unknown: Any = "1/H"
    with pytest.raises(ValueError, match="depth_rule"):
        depth_factors(drifts(2), unknown, "sgd")


def test_every_rule_of_the_settings_is_built() -> None:
    assert set(get_args(DepthRule)) == set(RULES)
    assert depth_factors(drifts(2), "none", "sgd") == {}
