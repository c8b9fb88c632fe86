"""An augmented flow does what no flow in the space of its points can do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from odenet import (
    RK4,
    Adaptive,
    Autonomous,
    BasicBranch,
    BottleneckBranch,
    Checkpointed,
    ConcatConvBranch,
    Constant,
    FixedSteps,
    HamiltonianBranch,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    Reversible,
    SymmetricBranch,
    group_norm,
)
from odenet.data import swapped_line
from odenet.layers import Augment, DropChannels

FLOW = FixedSteps(RK4(), 10)


def augmented(channels: int, stepping: Any = FLOW, gradient: Any = None) -> nn.Sequential:
    block = ODEBlock(Constant(MLPBranch(1 + channels, 20)), stepping, gradient)
    return nn.Sequential(Augment(channels), block, DropChannels(channels))


def loss_after_training(net: nn.Module, steps: int = 150) -> float:
    """Return the mean square error on the swapped line after `steps` steps of Adam."""
    points = swapped_line(20, noise=0.05)
    optimizer = torch.optim.Adam(net.parameters(), 0.05)
    loss = torch.tensor(0.0)
    for _ in range(steps):
        loss = (net(points.x) - points.targets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def test_on_the_line_a_flow_keeps_the_order_of_points_however_it_is_trained() -> None:
    torch.manual_seed(0)
    block = ODEBlock(Constant(MLPBranch(1, 20)), FLOW)
    # With a ≤ b the least mean of (a - 1)² and (b + 1)² is 1, at a = b = 0.
    assert loss_after_training(block) > 0.99
    x = torch.linspace(-2, 2, 101, dtype=torch.float64).unsqueeze(1)
    assert torch.all(block.double()(x).squeeze(1).diff() >= 0)


def test_an_augmented_flow_exchanges_the_points_of_the_line() -> None:
    torch.manual_seed(0)
    assert loss_after_training(augmented(1)) < 0.02


def test_a_residual_block_is_no_flow_and_exchanges_them_too() -> None:
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, -2.0)
    nn.init.zeros_(layer.bias)
    points = swapped_line(10, noise=0.0)
    assert torch.equal(ODEBlock(Constant(Autonomous(layer)))(points.x), points.targets)


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 5), (3, 2, 4, 5)], ids=str)
def test_zeros_are_appended_to_the_channels_and_dropped_again(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, dtype=torch.float64)
    y = Augment(3)(x)
    assert y.shape == (3, 5, *shape[2:])
    assert y.dtype == x.dtype
    assert torch.equal(y[:, :2], x)
    assert not y[:, 2:].any()
    assert torch.equal(DropChannels(3)(y), x)


def test_the_appended_channels_may_be_computed_from_the_state() -> None:
    module, x = nn.Conv2d(2, 3, 1), torch.randn(4, 2, 5, 5)
    assert torch.equal(Augment(module)(x), torch.cat([x, module(x)], dim=1))
    assert [name for name, _ in Augment(module).named_parameters()] == ["appended.weight", "appended.bias"]


@pytest.mark.parametrize("gradient", [Checkpointed(), Reversible()], ids=repr)
def test_every_gradient_method_goes_through_the_augmented_flow(gradient: Any) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 1, dtype=torch.float64, requires_grad=True)
    net = augmented(2, FixedSteps(RK4(), 40)).double()
    (expected,) = torch.autograd.grad(net(x).square().sum(), x)
    net[1].gradient = gradient
    (found,) = torch.autograd.grad(net(x).square().sum(), x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-8)


def test_it_is_shown_with_its_number_of_channels() -> None:
    assert repr(Augment(3)) == "Augment(3)"
    assert repr(DropChannels(2)) == "DropChannels(2)"


BRANCHES = [
    (MLPBranch(2), (4, 2)),
    (Autonomous(nn.LayerNorm(2)), (4, 2)),
    (BasicBranch(4), (2, 4, 5, 5)),
    (BasicBranch(4, norm=group_norm), (2, 4, 5, 5)),
    (BottleneckBranch(4, norm=nn.Identity), (2, 4, 5, 5)),
    (ConcatConvBranch(4), (2, 4, 5, 5)),
    (SymmetricBranch(4), (2, 4, 5, 5)),
    (HamiltonianBranch(4), (2, 4, 5, 5)),
]


@pytest.mark.parametrize(("branch", "shape"), BRANCHES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("stepping", [FixedSteps(), Adaptive()], ids=repr)
def test_a_branch_of_too_few_channels_is_told_apart_by_the_shape(branch: nn.Module, shape: Any, stepping: Any) -> None:
    # An even number of channels, so that HamiltonianBranch can halve it.
    net = nn.Sequential(Augment(2), ODEBlock(PiecewiseConstant([branch]), stepping))
    wide = (shape[0], shape[1] + 2, *shape[2:])
    with pytest.raises(ValueError, match=r"made for another number of channels .* that Augment appends") as caught:
        net(torch.zeros(shape))
    assert str(wide) in str(caught.value)


def test_another_error_of_a_branch_stays_itself() -> None:
    class Broken(nn.Module):
        def forward(self, t: float, x: Tensor) -> Tensor:
            raise RuntimeError("out of coffee")

    with pytest.raises(RuntimeError, match="out of coffee"):
        ODEBlock(Constant(Broken()))(torch.zeros(2, 2))


@pytest.mark.parametrize("appended", [0, -1, 1.5, True, "2", None, nn.Linear], ids=repr)
def test_what_cannot_be_appended_is_refused(appended: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="appended must be"):
        Augment(appended)


def test_states_without_channels_and_modules_of_another_shape_are_refused() -> None:
    for layer in (Augment(1), DropChannels(1)):
        with pytest.raises(ValueError, match=r"given a state of shape \(3,\); channels are dimension 1 .*unsqueeze"):
            layer(torch.zeros(3))
    with pytest.raises(ValueError, match=r"maps a state of shape \(2, 3, 8, 8\) to \(2, 4, 6, 6\)"):
        Augment(nn.Conv2d(3, 4, 3))(torch.zeros(2, 3, 8, 8))


def test_no_channel_would_be_left() -> None:
    with pytest.raises(
        ValueError, match=r"DropChannels\(2\) was given a state of shape \(3, 2\); nothing would be left"
    ):
        DropChannels(2)(torch.zeros(3, 2))
