"""The ODE-Net, RK-Net and ResNet for MNIST have the parameters of the released code and differ in the flow only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from odenet import RK4, Adaptive, Backprop, ContinuousAdjoint, FixedSteps, ODEBlock, configure
from odenet.models import ode_net, res_net, rk_net
from odenet.models.odenet import FlowClassifier


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def flow_of(model: FlowClassifier) -> ODEBlock:
    assert isinstance(model.flow, ODEBlock)
    return model.flow


@pytest.mark.parametrize(
    ("make", "whole", "flow"),
    [(ode_net, 208_266, 75_392), (rk_net, 208_266, 75_392), (res_net, 576_778, 6 * 73_984)],
    ids=["ode_net", "rk_net", "res_net"],
)
def test_the_three_nets_have_the_parameters_of_the_released_code(
    make: Callable[..., FlowClassifier], whole: int, flow: int
) -> None:
    model = make()
    assert parameters(model) == whole
    assert parameters(model.flow) == flow
    assert parameters(make(in_channels=3)) == whole + 2 * 64 * 9
    assert parameters(make(num_classes=20)) == whole + 10 * 65


def test_the_flow_of_mnist_images_has_64_channels_of_6_by_6_pixels() -> None:
    assert ode_net().trunk(images(2, 1, 28, 28)).shape == (2, 64, 6, 6)


def test_the_ode_net_steps_by_dopri5_with_the_continuous_adjoint() -> None:
    flow = flow_of(ode_net())
    assert flow.stepping == Adaptive("dopri5", rtol=1e-3, atol=1e-3)
    assert isinstance(flow.gradient, ContinuousAdjoint)
    assert (flow.theta.horizon, flow.theta.number_of_pieces) == (1.0, 1)
    assert flow.label == "block 'flow'"


def test_the_rk_net_is_the_ode_net_under_fixed_steps_of_rk4() -> None:
    assert flow_of(rk_net(steps=4)).stepping == FixedSteps(RK4(), per_piece=4)
    torch.manual_seed(0)
    continuous, discrete = ode_net(channels=4).double(), rk_net(channels=4, steps=20).double()
    discrete.load_state_dict(continuous.state_dict())
    configure(continuous, stepping=Adaptive("dopri5", 1e-8, 1e-8))
    x = images(2, 1, 28, 28).double()
    torch.testing.assert_close(
        continuous(x), discrete(x), rtol=0, atol=1e-3
    )  # the tolerance is this large because the field has kinks from ReLU


def test_the_residual_net_is_six_blocks_between_the_same_trunk_and_head() -> None:
    torch.manual_seed(0)
    model = res_net(channels=4)
    x = images(2, 1, 12, 12)
    y = model.trunk(x)
    for branch in flow_of(model).theta.nodes:
        y = y + branch(0.0, y)
    assert torch.equal(model(x), model.head(model.finish(y).mean((2, 3))))
    assert flow_of(model).evaluations == 6
    ours, theirs = model.state_dict(), ode_net(channels=4).state_dict()
    assert {name for name in ours if "flow" not in name} == {name for name in theirs if "flow" not in name}


@pytest.mark.parametrize("make", [ode_net, rk_net, res_net], ids=lambda make: make.__name__)
def test_every_parameter_of_each_net_learns(make: Callable[..., FlowClassifier]) -> None:
    torch.manual_seed(0)
    model = make(channels=4, num_classes=3)
    model(images(4, 1, 12, 12)).square().sum().backward()
    # Weights before a norm with one group for each channel have no gradient along their scale.
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert sum(bool(p.grad is not None and p.grad.abs().sum() > 0) for p in model.parameters()) > 20


def test_stepping_and_gradient_can_be_chosen() -> None:
    flow = flow_of(ode_net(channels=4, stepping=FixedSteps(RK4(), 2), gradient=Backprop()))
    assert (flow.stepping, repr(flow.gradient)) == (FixedSteps(RK4(), 2), "Backprop()")


@pytest.mark.parametrize("size", [(6, 6), (7, 6), (9, 31)], ids=str)
def test_images_of_any_size_from_six_pixels_on_are_taken(size: tuple[int, int]) -> None:
    assert res_net(channels=4)(images(2, 1, *size)).shape == (2, 10)


def test_smaller_images_and_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"FlowClassifier was given images of 5×8 pixels; .* below 6×6: enlarge"):
        res_net(channels=4)(images(2, 1, 5, 8))
    with pytest.raises(ValueError, match=r"shape \(2, 3, 8, 8\); it takes \(batch, 1, .* in_channels=3"):
        res_net(channels=4)(images(2, 3, 8, 8))


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (ode_net, {"num_classes": 0}),
        (ode_net, {"in_channels": 0}),
        (ode_net, {"channels": 0}),
        (rk_net, {"channels": 1.5}),
        (res_net, {"channels": True}),
        (res_net, {"blocks": 0}),
    ],
)
def test_counts_that_are_no_positive_integers_are_refused(make: Any, arguments: dict[str, Any]) -> None:
    ((name, value),) = arguments.items()
    with pytest.raises((TypeError, ValueError), match=rf"{name} must be a whole number.*, got {value!r}"):
        make(**arguments)


def test_a_number_of_steps_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="steps must be a whole number of at least 1, got 0"):
        rk_net(steps=0)
