"""Weights along depth are tied, or values of a smooth random θ(t) with the variance of the module's own draw."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from odenet import (
    BasicBranch,
    Constant,
    Galerkin,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    Spline,
    Theta,
    group_norm,
    initialize_depth,
)
from odenet.blocks.theta.base import LinearTheta
from odenet.data import load
from odenet.measure import theta_roughness
from odenet.models import cifar_resnet
from odenet.models.resnet import residual_flow
from odenet.training import Classification, Training, fit
from tests.test_training_depth_rules import ThereAndBack

KINDS: dict[str, Callable[..., LinearTheta]] = {
    "piecewise constant": PiecewiseConstant,
    "piecewise linear": PiecewiseLinear,
    "cubic": partial(Spline, degree=3),
    "fourier": partial(Galerkin, basis="fourier"),
}


def block(kind: str = "piecewise constant", nodes: int = 9, width: int = 40, horizon: float = 2.0) -> ODEBlock:
    torch.manual_seed(1)
    return ODEBlock(KINDS[kind]([MLPBranch(width, width) for _ in range(nodes)], horizon=horizon))


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weight_at(theta: LinearTheta, s: float, name: str = "net.0.weight") -> Tensor:
    """Return a weight of θ(t) at t = s·T, by the definition θ(t) = Σ φ_j(t)·θ_j."""
    t = s * theta.horizon
    for index, (start, end) in enumerate(theta.intervals()):
        if t <= end:
            nodes, weights = theta.nodes_of_piece(index), theta.weights(index, start, end, t)
            parts = (w * theta.nodes[j].get_parameter(name).detach() for w, j in zip(weights, nodes, strict=True))
            return torch.stack([part * torch.ones(1) for part in parts]).sum(0)
    raise AssertionError


def state(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("s", [0.0, 0.21, 0.5, 1.0])
def test_a_smooth_theta_has_the_variance_of_the_module_at_each_t(kind: str, s: float) -> None:
    own = block(kind)
    expected = torch.stack([node.get_parameter("net.0.weight").detach() for node in own.theta.nodes]).std()
    smooth: Any = initialize_depth(own, "smooth", length_scale=0.5, generator=drawn()).theta
    assert float(weight_at(smooth, s).std()) == pytest.approx(float(expected), rel=0.06)


@pytest.mark.parametrize("length_scale", [0.2, 0.5, 2.0])
def test_the_correlation_along_depth_is_that_of_the_length_scale(length_scale: float) -> None:
    theta: Any = initialize_depth(block(nodes=10), "smooth", length_scale=length_scale, generator=drawn()).theta
    first = theta.nodes[0].get_parameter("net.0.weight").detach().flatten()
    for j in (1, 3, 9):
        other = theta.nodes[j].get_parameter("net.0.weight").detach().flatten()
        found = float(torch.corrcoef(torch.stack([first, other]))[0, 1])
        assert found == pytest.approx(math.exp(-0.5 * (0.1 * j / length_scale) ** 2), abs=0.08)


def test_networks_of_different_depth_have_the_same_function_of_t() -> None:
    coarse, fine = (initialize_depth(block(nodes=nodes), "smooth", generator=drawn()).theta for nodes in (5, 45))
    for j in range(5):  # the middle of piece j of 5 is that of piece 9j + 4 of 45
        left, right = (t.nodes[i].get_parameter("net.0.weight") for t, i in ((coarse, j), (fine, 9 * j + 4)))
        torch.testing.assert_close(
            left / left.square().mean().sqrt(), right / right.square().mean().sqrt(), rtol=0.05, atol=0.05
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_tied_theta_is_constant(kind: str) -> None:
    own = block(kind)
    tied: Any = initialize_depth(own, "tied").theta
    for name, expected in own.theta.nodes[0].named_parameters():
        for s in (0.0, 0.3, 1.0):
            torch.testing.assert_close(weight_at(tied, s, name), expected.detach())


def test_independent_nodes_are_those_that_were_built_in_a_net_of_its_own() -> None:
    own = block()
    new = initialize_depth(own, "independent")
    assert all(torch.equal(value, new.state_dict()[name]) for name, value in own.state_dict().items())
    assert not {id(p) for p in own.parameters()} & {id(p) for p in new.parameters()}


@pytest.mark.parametrize("along", ["independent", "tied", "smooth"])
def test_the_net_and_the_global_random_state_are_unchanged(along: Any) -> None:
    own = block()
    before, random = state(own), torch.get_rng_state()
    first, second = (initialize_depth(own, along, generator=drawn()) for _ in range(2))
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(map(torch.equal, first.parameters(), second.parameters()))


def test_without_a_generator_the_global_one_is_drawn_from() -> None:
    own = block()
    torch.manual_seed(3)
    first = initialize_depth(own, "smooth")
    torch.manual_seed(3)
    second = initialize_depth(own, "smooth")
    other = initialize_depth(own, "smooth")
    assert all(map(torch.equal, first.parameters(), second.parameters()))
    assert not all(map(torch.equal, first.parameters(), other.parameters()))


@pytest.mark.parametrize("along", ["tied", "smooth"])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, group_norm])
def test_normalizations_keep_their_values_and_zeros_stay_zeros(along: Any, norm: Any) -> None:
    own = ODEBlock(PiecewiseConstant([BasicBranch(4, norm=norm) for _ in range(3)]))
    for j, node in enumerate(own.theta.nodes):
        nn.init.constant_(node.get_parameter("norm1.weight"), j + 1.0)
        nn.init.zeros_(node.get_parameter("conv2.weight"))
        for buffer in node.buffers():
            buffer.fill_(j + 2)
    new = initialize_depth(own, along, generator=drawn())
    for before, after in zip(own.theta.nodes, new.theta.nodes, strict=True):
        kept = {name: value for name, value in before.state_dict().items() if "conv1" not in name}
        assert all(torch.equal(value, after.state_dict()[name]) for name, value in kept.items())
        assert after.get_parameter("conv1.weight").requires_grad


def test_biases_are_those_of_node_0_and_no_draws_of_a_gaussian_process() -> None:
    own = block()
    smooth = initialize_depth(own, "smooth", generator=drawn())
    for node in smooth.theta.nodes:
        assert torch.equal(node.get_parameter("net.0.bias"), own.theta.nodes[0].get_parameter("net.0.bias"))


def test_a_constant_theta_keeps_its_draw() -> None:
    own = ODEBlock(Constant(MLPBranch(3)))
    for along in ("tied", "smooth"):
        assert all(map(torch.equal, initialize_depth(own, along).parameters(), own.parameters()))


def test_every_block_of_a_network_is_initialized_and_nothing_else() -> None:
    net = cifar_resnet(3, widths=(4, 8), activation="pre", flow=partial(residual_flow, horizon=1.0))
    new = initialize_depth(net, "smooth", generator=drawn())
    changed = {n for n, value in net.state_dict().items() if not torch.equal(value, new.state_dict()[n])}
    flows = {name for name, parameter in net.named_parameters() if ".theta." in name and parameter.ndim > 1}
    assert changed == flows


class OwnTheta(ThereAndBack):
    """A θ of one's own."""


def own_theta() -> Theta:
    return OwnTheta([MLPBranch(2) for _ in range(2)])


def repeated() -> Theta:
    node = MLPBranch(2)
    return PiecewiseConstant([node, MLPBranch(2), node])


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        (
            lambda: Galerkin([MLPBranch(2) for _ in range(3)]),
            "Galerkin series in the basis 'chebyshev'.*use the basis 'four",
        ),
        (own_theta, "smooth weights of a OwnTheta, and does not know at which t its nodes lie: use 'tied'"),
        (repeated, "PiecewiseConstant in which one module is several nodes.*use 'tied', or a module for each node"),
    ],
)
def test_a_theta_without_smooth_values_at_its_nodes_is_refused_by_name(
    theta: Callable[[], Theta], message: str
) -> None:
    own = ODEBlock(theta())
    before = state(own)
    with pytest.raises(ValueError, match=message):
        initialize_depth(nn.Sequential(own), "smooth")
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())
    initialize_depth(own, "tied")


def test_nodes_of_different_architecture_are_refused() -> None:
    own = ODEBlock(PiecewiseConstant([MLPBranch(2, 3), MLPBranch(2, 4)]))
    with pytest.raises(ValueError, match="nodes 0 and 1 of PiecewiseConstant differ"):
        initialize_depth(own, "tied")


def test_a_net_without_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="was given a Linear without an ODEBlock: it has no weights along depth"):
        initialize_depth(nn.Linear(2, 2), "tied")


@pytest.mark.parametrize("value", [0.0, -1.0, 0.001, math.inf])
def test_a_length_scale_out_of_bounds_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="length_scale"):
        initialize_depth(block(), "smooth", length_scale=value)


def test_training_keeps_tied_weights_alike_and_does_not_make_independent_ones_alike(tmp_path: Path) -> None:
    data = load("digits").with_train_images(512)
    roughness = {}
    for along in ("independent", "tied"):
        torch.manual_seed(0)
        flow = partial(residual_flow, horizon=1.0)
        net = cifar_resnet(8, 10, 1, widths=(8,), activation="pre", norm=group_norm, flow=flow)
        net = copy.deepcopy(initialize_depth(net, along))
        training = Training(epochs=2, batch_size=64, lr=0.1, threads=1, device="cpu")
        batches = data.train_batches(64, augment=False, drop_last=True)
        fit(net, Classification(10), batches, None, training, seed=0, folder=tmp_path / along, quiet=True)
        (flow_of_net,) = [module for module in net.modules() if isinstance(module, ODEBlock)]
        found = theta_roughness(flow_of_net.theta)
        roughness[along] = sum(found) / len(found)
    assert roughness["independent"] > 1.35
    assert 0 < roughness["tied"] < 0.2
