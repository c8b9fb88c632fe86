"""Modes are set temporarily, and no measurement changes the network or the random generator."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import nn

from odenet import Euler, FixedSteps
from odenet.blocks.block import ODEBlock
from odenet.measure import (
    activation_bytes,
    count_layers,
    count_multiply_adds,
    count_parameters,
    distance_to_flow,
    latencies,
    layer_gradients,
    output_distance,
    peak_bytes,
    state_roughness,
    theta_roughness,
)
from odenet.measure.lesions import dropped, swapped
from odenet.measure.mode import in_mode
from odenet.measure.receptive_field import reach
from odenet.models import ResNet
from odenet.models.resnet import cifar_resnet


@pytest.mark.parametrize("training", [False, True])
def test_each_module_is_afterwards_in_the_mode_that_it_was_in(training):
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout().eval()))
    before = [module.training for module in net.modules()]
    with in_mode(net, training=training):
        assert {module.training for module in net.modules()} == {training}
    assert [module.training for module in net.modules()] == before


def test_also_after_an_error():
    net = nn.Dropout()
    with pytest.raises(RuntimeError, match="stop"), in_mode(net, training=False):
        raise RuntimeError("stop")
    assert net.training


def net() -> ResNet:
    """Build a net with BatchNorm and a frozen stem."""
    torch.manual_seed(0)
    made = cifar_resnet(3, 10, 3, widths=(4, 8))
    made.stem.requires_grad_(False).eval()
    return made


def flow(made: ResNet) -> ODEBlock:
    return next(module for module in made.modules() if isinstance(module, ODEBlock))


def within(lesion: AbstractContextManager[None], made: ResNet) -> None:
    with lesion, torch.no_grad(), in_mode(made, training=False):
        made(IMAGES)


IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
STATE = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))

MEASURES: dict[str, Callable[[ResNet], Any]] = {
    "activation_bytes": lambda made: activation_bytes(made, IMAGES),
    "count_layers": count_layers,
    "count_multiply_adds": lambda made: count_multiply_adds(made, IMAGES),
    "count_parameters": count_parameters,
    "distance_to_flow": lambda made: distance_to_flow(made, IMAGES, FixedSteps(Euler(), 2)),
    "dropped": lambda made: within(dropped(flow(made), 1), made),
    "latencies": lambda made: latencies(made, (3, 8, 8), [1, 2], 1, warm_up=0),
    "layer_gradients": lambda made: layer_gradients(made, IMAGES, torch.mean),
    "output_distance": lambda made: output_distance(made, made, IMAGES),
    "peak_bytes": lambda made: peak_bytes(lambda: count_multiply_adds(made, IMAGES)),
    "reach": lambda made: reach(made.stem, 3),
    "state_roughness": lambda made: state_roughness(flow(made), STATE),
    "swapped": lambda made: within(swapped(flow(made), 1), made),
    "theta_roughness": lambda made: theta_roughness(flow(made).theta),
}


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_leaves_the_net_and_the_generator_as_they_were(name: str) -> None:
    made = net()
    before = {key: value.clone() for key, value in made.state_dict().items()}
    modes = [module.training for module in made.modules()]
    learned = [parameter.requires_grad for parameter in made.parameters()]
    block, noise, random = flow(made).theta, flow(made).noise, torch.get_rng_state()
    MEASURES[name](made)
    assert all(torch.equal(before[key], value) for key, value in made.state_dict().items())
    assert [module.training for module in made.modules()] == modes
    assert [parameter.requires_grad for parameter in made.parameters()] == learned
    assert all(parameter.grad is None for parameter in made.parameters())
    assert (flow(made).theta, flow(made).noise) == (block, noise)
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in made.modules())
