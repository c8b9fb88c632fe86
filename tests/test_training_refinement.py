"""After a refinement the optimizer has the state of one that had trained the finer network all along."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

from odenet import (
    RK4,
    FixedSteps,
    LinearTheta,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    Spline,
    coarsen_theta,
    project_theta,
    refine_steps,
    refine_theta,
)
from odenet.blocks.theta.base import Time
from odenet.models import ResNet, cifar_resnet
from odenet.training import Training, refine_optimizer_state
from odenet.training.optimizers import make_optimizer

MAKERS: dict[str, Callable[[Iterable[Tensor]], optim.Optimizer]] = {
    "momentum": partial(optim.SGD, lr=0.1, momentum=0.9),
    "nesterov": partial(optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
    "plain": partial(optim.SGD, lr=0.1),
    "adam": partial(optim.Adam, lr=0.01),
    "amsgrad": partial(optim.Adam, lr=0.01, amsgrad=True),
    "adamw": partial(optim.AdamW, lr=0.01),
}

KINDS: dict[str, Callable[[list[nn.Module]], LinearTheta]] = {
    "constant": PiecewiseConstant,
    "linear": PiecewiseLinear,
    "cubic": partial(Spline, degree=3),
}


class Drift(nn.Module):
    """Branch F(t, x) = b: the gradient of a linear loss is the integral of the basis function, for every b."""

    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.randn(2, dtype=torch.float64))

    def forward(self, t: Time, x: Tensor) -> Tensor:
        return self.b.expand_as(x)


def drifting(kind: str, pieces: int = 3) -> ODEBlock:
    torch.manual_seed(0)
    degree = {"constant": 0, "linear": 1, "cubic": 3}[kind]
    return ODEBlock(KINDS[kind]([Drift() for _ in range(pieces + degree)]), FixedSteps(RK4()))


def train(block: nn.Module, optimizer: optim.Optimizer, steps: int) -> None:
    """Take steps on linear losses of different slopes; RK4 integrates polynomials of degree 3 over depth exactly."""
    for step in range(steps):
        optimizer.zero_grad()
        x = torch.zeros(1, 2, dtype=torch.float64)
        (block(x) * torch.tensor([step + 1.0, -2.0])).sum().backward()
        optimizer.step()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("factor", [2, 3])
def test_the_state_is_that_of_having_trained_the_finer_net(
    factor: int, make: Callable[..., optim.Optimizer], kind: str
) -> None:
    coarse, fine = drifting(kind), refine_theta(refine_steps(drifting(kind), factor), factor)
    gathered, expected = make(coarse.parameters()), make(fine.parameters())
    train(coarse, gathered, 5)
    train(fine, expected, 5)
    found = refine_optimizer_state(gathered, coarse, refine_theta(refine_steps(coarse, factor), factor))
    states = [[optimizer.state[p] for p in optimizer.param_groups[0]["params"]] for optimizer in (found, expected)]
    torch.testing.assert_close(*states, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("make", "speed"), [("momentum", 2.0), ("nesterov", 2.0), ("adam", 1.0), ("amsgrad", 1.0)])
def test_training_goes_on_without_a_jump(make: str, speed: float) -> None:
    coarse = drifting("constant")
    optimizer = MAKERS[make](coarse.parameters())
    train(coarse, optimizer, 4)
    fine = refine_theta(refine_steps(coarse))
    refined = refine_optimizer_state(optimizer, coarse, fine)
    for group in refined.param_groups:
        group["lr"] *= speed
    for _ in range(3):
        train(coarse, optimizer, 1)
        train(fine, refined, 1)
    for index, node in enumerate(fine.theta.nodes):
        torch.testing.assert_close(node.b, coarse.theta.nodes[index // 2].b, rtol=1e-5, atol=1e-6)  # Adam's eps


def test_copies_share_the_momentum_to_the_last_bit() -> None:
    coarse = drifting("constant")
    optimizer = MAKERS["momentum"](coarse.parameters())
    train(coarse, optimizer, 3)
    fine = refine_theta(refine_steps(coarse))
    found = refine_optimizer_state(optimizer, coarse, fine)
    for index, node in enumerate(coarse.theta.nodes):
        shares = [
            found.state[copy.get_parameter("b")]["momentum_buffer"]
            for copy in fine.theta.nodes[2 * index : 2 * index + 2]
        ]
        assert torch.equal(shares[0] + shares[1], optimizer.state[node.get_parameter("b")]["momentum_buffer"])


def small(**options: Any) -> ResNet:
    torch.manual_seed(0)
    return cifar_resnet(2, widths=(4, 8), activation="pre", **options)


def a_step(net: nn.Module, optimizer: optim.Optimizer) -> None:
    optimizer.zero_grad()
    net(torch.randn(4, 3, 8, 8)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("decay", ["all", "weights"])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_whole_network_keeps_its_groups_their_order_and_their_settings(name: Any, decay: Any) -> None:
    settings = Training(optimizer=name, lr=0.05, momentum=0.8, weight_decay=0.01, decay=decay)
    coarse = small()
    optimizer = make_optimizer(coarse, settings)
    a_step(coarse, optimizer)
    optimizer.param_groups[0]["lr"] = 0.123
    fine = refine_theta(refine_steps(coarse))
    found, usual = refine_optimizer_state(optimizer, coarse, fine), make_optimizer(fine, settings)
    assert type(found) is type(optimizer)
    for group, other in zip(found.param_groups, usual.param_groups, strict=True):
        assert [id(p) for p in group["params"]] == [id(p) for p in other["params"]]
        assert group["weight_decay"] == other["weight_decay"]
    assert found.param_groups[0]["lr"] == 0.123
    usual.load_state_dict(found.state_dict())
    a_step(fine, found)


def test_what_was_not_refined_keeps_its_state_to_the_last_bit() -> None:
    coarse = small()
    optimizer = optim.Adam(coarse.parameters())
    a_step(coarse, optimizer)
    for fine in (refine_steps(coarse, 3), refine_theta(refine_steps(coarse))):
        found = refine_optimizer_state(optimizer, coarse, fine)
        ours, theirs = found.state[fine.head.weight], optimizer.state[coarse.head.weight]
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        assert all(ours[name].data_ptr() != theirs[name].data_ptr() for name in ours)


def test_refining_twice_is_refining_by_the_product() -> None:
    coarse = drifting("linear")
    optimizer = MAKERS["adam"](coarse.parameters())
    train(coarse, optimizer, 3)
    middle = refine_theta(refine_steps(coarse))
    fine = refine_theta(refine_steps(middle, 3), 3)
    once = refine_optimizer_state(optimizer, coarse, fine)
    twice = refine_optimizer_state(refine_optimizer_state(optimizer, coarse, middle), middle, fine)
    torch.testing.assert_close(once.state_dict()["state"][2], twice.state_dict()["state"][2], rtol=1e-12, atol=1e-14)


def test_the_first_optimizer_is_left_as_it_is() -> None:
    coarse = small()
    optimizer = optim.SGD(coarse.parameters(), lr=0.1, momentum=0.9)
    a_step(coarse, optimizer)
    before = [optimizer.state[p]["momentum_buffer"].clone() for p in coarse.parameters()]
    fine = refine_theta(refine_steps(coarse))
    a_step(fine, refine_optimizer_state(optimizer, coarse, fine))
    assert all(
        torch.equal(a, optimizer.state[p]["momentum_buffer"]) for a, p in zip(before, coarse.parameters(), strict=True)
    )
    assert len(optimizer.param_groups[0]["params"]) == len(before)


def test_a_new_optimizer_gives_a_new_one_and_frozen_parameters_stay_out() -> None:
    coarse = small()
    coarse.stem.requires_grad_(False)
    optimizer = make_optimizer(coarse, Training())
    fine = refine_theta(refine_steps(coarse))
    found = refine_optimizer_state(optimizer, coarse, fine)
    assert not found.state
    held = {id(parameter) for parameter in found.param_groups[0]["params"]}
    assert held == {id(parameter) for parameter in fine.parameters() if parameter.requires_grad}


# Bad input


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (coarsen_theta, "θ is PiecewiseConstant on 4 pieces in `before`, and PiecewiseConstant on 2 in `after`"),
        (lambda block: _with(block, Spline, 4), "and Spline on 1 in `after`"),
        (lambda _: drifting("constant", 6), "PiecewiseConstant on 4 pieces in `before`, .* on 6 in `after`"),
        (lambda block: nn.Sequential(block), r"'0.theta.nodes.0.b' has no origin '0.theta.nodes.0.b' of its shape"),
    ],
)
def test_what_is_no_refinement_is_refused(change: Callable[[ODEBlock], nn.Module], found: str) -> None:
    block = drifting("constant", 4)
    optimizer = MAKERS["adam"](block.parameters())
    with pytest.raises(ValueError, match=f"no refinement of the other: .*{found}.*begin with a new optimizer"):
        refine_optimizer_state(optimizer, block, change(block))


def _with(block: ODEBlock, kind: Any, nodes: int) -> ODEBlock:
    return ODEBlock(project_theta(block.theta, kind, nodes))


def test_parameters_of_another_network_are_refused() -> None:
    block, other = drifting("constant"), drifting("constant")
    with pytest.raises(ValueError, match=r"parameters that are none of the coarse network's: .*it trains as `before`"):
        refine_optimizer_state(MAKERS["adam"](other.parameters()), block, refine_theta(refine_steps(block)))


def test_state_of_an_unknown_power_of_the_gradient_is_refused() -> None:
    block = drifting("constant")
    optimizer = optim.Adadelta(block.parameters())
    train(block, optimizer, 1)
    with pytest.raises(ValueError, match=r"met 'square_avg' in the state of Adadelta, .* it knows SGD, Adam and AdamW"):
        refine_optimizer_state(optimizer, block, refine_theta(refine_steps(block)))
