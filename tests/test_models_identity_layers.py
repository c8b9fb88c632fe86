"""A net with added identity layers computes the logits of the shallower net, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from odenet import BasicBranch, Constant, MLPBranch, ODEBlock, PiecewiseConstant, StochasticDepth, group_norm
from odenet.measure import count_layers
from odenet.models import ResNet, cifar_resnet, plain20, plain56, resnet20, resnet50, resnet56
from odenet.models.identity_layers import add_identity_layers
from odenet.models.plain import plain_stage
from tests.test_models_resnet import with_statistics


def pre_activation(**options: Any) -> ResNet:
    return cifar_resnet(3, activation="pre", **options)


def bottlenecks(**options: Any) -> ResNet:
    return resnet50(num_classes=10, **options)


def group_normalized(**options: Any) -> ResNet:
    return resnet20(norm=group_norm, **options)


RESIDUAL = [resnet20, pre_activation, group_normalized, bottlenecks]


def trained(make: Callable[..., ResNet]) -> ResNet:
    """Build a net whose parameters and statistics differ from their initial values."""
    torch.manual_seed(0)
    net = make()
    with_statistics(net)
    return net.eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("make", [plain20, *RESIDUAL])
def test_a_deeper_net_with_identity_layers_gives_the_same_logits(make, dtype):
    net = trained(make).to(dtype)
    deeper = add_identity_layers(net, 6)
    x = torch.randn(3, 3, 32, 32, dtype=dtype)
    assert torch.equal(deeper(x), net(x))
    assert count_layers(deeper) > count_layers(net)


@pytest.mark.parametrize("make", RESIDUAL)
def test_a_residual_net_gives_them_in_training_mode_too(make):
    net = trained(make).train()
    x = torch.randn(3, 3, 32, 32)
    assert torch.equal(add_identity_layers(net, 2)(x), net(x))


def test_a_plain_net_does_not_give_them_in_training_mode():
    net = trained(plain20).train()
    x = torch.randn(3, 3, 32, 32)
    assert not torch.allclose(add_identity_layers(net, 1)(x), net(x), rtol=0.01)


@pytest.mark.parametrize("eps", [1e-5, 1e-3, 0.1, 1 / 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_variance_of_an_identity_layer_and_epsilon_are_one_in_floating_point(dtype, eps):
    torch.manual_seed(0)
    stage = plain_stage(lambda: BasicBranch(2, activation="post", norm=partial(nn.BatchNorm2d, eps=eps)), 1, torch.relu)
    stage = add_identity_layers(stage.to(dtype), 1)
    for norm in (stage.get_submodule("theta.nodes.1.norm1"), stage.get_submodule("theta.nodes.1.norm2")):
        variance = norm.get_buffer("running_var")
        assert torch.equal(variance + eps, torch.ones_like(variance))


@pytest.mark.parametrize(("shallow", "deep"), [(plain20, plain56), (resnet20, resnet56)])
def test_twenty_layers_and_six_identities_a_flow_are_a_net_of_56_layers(shallow, deep):
    net = add_identity_layers(shallow(), 6)
    assert count_layers(net) == 56
    assert {n: p.shape for n, p in net.state_dict().items()} == {n: p.shape for n, p in deep().state_dict().items()}
    blocks = [module for module in net.modules() if isinstance(module, ODEBlock)]
    assert [block.theta.horizon for block in blocks] == [9, 8, 8]


def test_the_shallower_net_is_left_as_it_is():
    net = trained(plain20)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    add_identity_layers(net, 2)
    assert before.keys() == net.state_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("make", [plain20, resnet20, pre_activation])
def test_every_identity_layer_can_be_trained(make):
    deeper = add_identity_layers(trained(make), 1).train()
    deeper(torch.randn(4, 3, 16, 16)).square().sum().backward()
    for block in (module for module in deeper.modules() if isinstance(module, ODEBlock)):
        gradients = [parameter.grad for parameter in block.theta.nodes[-1].parameters()]
        assert any(gradient is not None and gradient.count_nonzero() > 0 for gradient in gradients)


@pytest.mark.parametrize("layers", [0, -1, 1.5, True])
def test_a_number_of_layers_that_is_none_is_refused(layers: Any):
    with pytest.raises((TypeError, ValueError), match=r"layers must be a whole number.*, got .*"):
        add_identity_layers(resnet20(), layers)


def flow(*nodes: nn.Module, **options: Any) -> ODEBlock:
    return ODEBlock(PiecewiseConstant(nodes), **options)


def plain(**options: Any) -> ResNet:
    return cifar_resnet(2, shortcut=None, flow=plain_stage, **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(2, 2), "in a Linear without an ODEBlock"),
        (lambda: ODEBlock(Constant(MLPBranch(2))), "its θ is Constant: use PiecewiseConstant"),
        (lambda: flow(MLPBranch(2)), "not known which weights of a MLPBranch make it zero: use BasicBranch"),
        (lambda: resnet20(norm=lambda n: nn.BatchNorm2d(n, affine=False)), "no weights to set to 0"),
        (lambda: plain(activation="pre"), "only conv-norm-relu layers of one width .*activation='post'"),
        (lambda: plain_stage(lambda: BasicBranch(2, activation="post"), 1, None), "and the projection Nonnegative"),
        (lambda: plain(norm=group_norm), "GroupNorm normalizes by statistics of the state: use BatchNorm2d"),
        (lambda: plain(norm=lambda n: nn.BatchNorm2d(n, track_running_stats=False)), "by statistics of the state: use"),
    ],
)
def test_a_network_whose_layers_cannot_be_identities_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        add_identity_layers(make(), 1)


def test_probabilities_of_survival_that_do_not_fit_the_deeper_flow_are_refused():
    net = resnet20()
    block = next(module for module in net.modules() if isinstance(module, ODEBlock))
    block.noise = StochasticDepth([0.9, 0.8, 0.7])
    with pytest.raises(ValueError, match=r"3 survival probabilities .* 4 pieces"):
        add_identity_layers(net, 1)
