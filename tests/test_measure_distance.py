"""Distance to the flow: zero under the reference itself, the known error of Euler elsewhere, and no traces left."""

from __future__ import annotations

import pytest
import torch

from odenet import FixedSteps, Midpoint, refine_steps
from odenet.blocks.block import ODEBlock
from odenet.measure import distance_to_flow, observed_order
from odenet.models import ResNet, cifar_resnet


@pytest.fixture
def net() -> ResNet:
    torch.manual_seed(0)
    return cifar_resnet(2, 10, 1, widths=(4, 8), activation="pre").eval()


def test_a_net_is_no_distance_from_the_flow_under_its_own_stepping(net):
    assert distance_to_flow(net, torch.randn(3, 1, 8, 8), FixedSteps()) == 0


def test_the_distance_is_the_mean_of_relative_euclidean_distances(net):
    images = torch.randn(3, 1, 8, 8)
    found = distance_to_flow(net, images, FixedSteps(Midpoint(), 4))
    with torch.no_grad():
        coarse = net.features(images)
        for block in net.modules():
            if isinstance(block, ODEBlock):
                block.stepping = FixedSteps(Midpoint(), 4)
        fine = net.features(images)
    ratios = [float((a - b).norm() / b.norm()) for a, b in zip(coarse, fine, strict=True)]
    assert found == pytest.approx(sum(ratios) / 3, rel=1e-5)


def test_the_distance_of_an_euler_net_falls_with_order_one(net):
    images = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    net.double()
    steps = [32, 64, 128]
    errors = [distance_to_flow(refine_steps(net, n), images, FixedSteps("rk4", 256)) for n in steps]
    assert observed_order(steps, errors) == pytest.approx(1, abs=0.05)


def test_mode_stepping_and_statistics_are_as_before(net):
    net.train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    distance_to_flow(net, torch.randn(2, 1, 8, 8), FixedSteps(Midpoint()))
    assert net.training
    assert all(m.stepping == FixedSteps() for m in net.modules() if isinstance(m, ODEBlock))
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
