"""The distance to the flow is zero for the reference itself and of order 1 for Euler; the net is left unchanged."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from odenet import FixedSteps, Midpoint, refine_steps, refine_theta
from odenet.blocks.block import ODEBlock
from odenet.measure import distance_to_flow, observed_order, output_distance
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


def test_refining_theta_moves_the_output_by_rounding_and_refining_steps_by_the_order(net):
    images = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    finer = refine_steps(net.double(), 6)
    assert output_distance(finer, refine_theta(finer, 3), images) < 1e-14
    steps = [32, 64, 128]
    moves = [output_distance(refine_steps(net, n), refine_steps(net, 2 * n), images) for n in steps]
    assert observed_order(steps, moves) == pytest.approx(1, abs=0.05)


def test_the_distance_of_outputs_is_the_mean_of_relative_euclidean_distances():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]])
    one, other = nn.Identity(), nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        other.weight.copy_(torch.diag(torch.tensor([1.0, 3.0])))
    assert output_distance(one, other, x) == pytest.approx((8 / 5 + 0 + 0) / 3)
    assert output_distance(one, one, x) == 0


def test_every_module_has_its_own_mode_again(net):
    net.train()
    net.stem.eval()
    before = [module.training for module in net.modules()]
    statistics = {name: buffer.clone() for name, buffer in net.named_buffers()}
    output_distance(net, net, torch.randn(2, 1, 8, 8))
    assert [module.training for module in net.modules()] == before
    assert all(torch.equal(statistics[name], buffer) for name, buffer in net.named_buffers())


def test_outputs_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"shapes \(4, 2\) and \(4, 3\) .* pass two networks with the same outputs"):
        output_distance(nn.Linear(5, 2), nn.Linear(5, 3), torch.ones(4, 5))
