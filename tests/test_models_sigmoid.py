"""The gradient formula of a sigmoid chain agrees with autograd and with the lecture's factors."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch import nn

from odenet import FixedSteps, ODEBlock
from odenet.models import SigmoidChain, SigmoidMLP
from odenet.models.plain import Substitution, plain_stage
from odenet.models.resnet import residual_flow
from odenet.models.sigmoid import SigmoidLayer, glorot, nielsen, sigmoid_slope, sweet_spot, unit_normal

HALF = torch.tensor(0.5, dtype=torch.float64)


def chain_of(weights: torch.Tensor) -> SigmoidChain:
    generator = torch.Generator().manual_seed(1)
    return SigmoidChain(weights, torch.randn(weights.shape, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("layers", [1, 4, 9])
def test_the_formula_of_the_chain_is_the_gradient_of_autograd(layers: int) -> None:
    chain = chain_of(3 * torch.randn(layers, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    (gradient,) = torch.autograd.grad(chain(HALF), chain.biases)
    torch.testing.assert_close(chain.bias_gradients(HALF), gradient, rtol=1e-14, atol=0)


def test_the_gradient_of_the_lecture_is_written_out_for_four_layers() -> None:
    chain = chain_of(torch.tensor([1.5, -2.0, 0.7, 5.0], dtype=torch.float64))
    cost = (chain(HALF) - 1) ** 2
    by_output = 2 * (chain(HALF) - 1)
    _, w2, w3, w4 = chain.weights
    s1, s2, s3, s4 = sigmoid_slope(chain.inputs(HALF))
    (gradient,) = torch.autograd.grad(cost, chain.biases)
    torch.testing.assert_close(gradient[0], s1 * w2 * s2 * w3 * s3 * w4 * s4 * by_output, rtol=1e-14, atol=0)


def test_the_formula_holds_for_many_inputs_at_once() -> None:
    chain, a = chain_of(torch.tensor([1.0, 4.0, -3.0], dtype=torch.float64)), torch.rand(2, 5, dtype=torch.float64)
    together = chain.bias_gradients(a)
    assert together.shape == (3, 2, 5)
    torch.testing.assert_close(together[:, 1, 2], chain.bias_gradients(a[1, 2]), rtol=1e-14, atol=0)


@given(
    st.lists(st.floats(-1, 1, exclude_min=True, exclude_max=True), min_size=4, max_size=4),
    st.lists(st.floats(-9, 9), min_size=4, max_size=4),
)
def test_below_weight_one_the_first_bias_learns_sixteen_times_slower_than_the_third(w, b) -> None:
    chain = SigmoidChain(*(torch.tensor(values, dtype=torch.float64) for values in (w, b)))
    first, _, third, _ = chain.bias_gradients(HALF).abs()
    assert (chain.factors(HALF).abs() < 0.25).all()
    assert 16 * first <= third


@pytest.mark.parametrize("a", [-2.0, 0.0, 0.3])
def test_weights_of_100_with_z_at_zero_make_every_factor_exactly_25(a: float) -> None:
    start = torch.tensor(a, dtype=torch.float64)
    chain = SigmoidChain.centred(torch.full((4,), 100.0, dtype=torch.float64), start)
    assert torch.equal(chain.inputs(start), torch.zeros(4, dtype=torch.float64))
    assert torch.equal(chain.factors(start), torch.full((3,), 25.0, dtype=torch.float64))
    expected = torch.tensor([25.0**3, 25.0**2, 25.0, 1.0], dtype=torch.float64) / 4
    assert torch.equal(chain.bias_gradients(start), expected)


@pytest.mark.parametrize("weight", [4.0, 4.5, -6.8942, 20.0, 100.0])
def test_a_neuron_keeps_the_gradient_on_an_interval_of_the_sweet_spots_length(weight: float) -> None:
    end = sweet_spot(weight) / 2  # half of it on each side of its middle, where z = 0
    for a, keeps in ((0.999 * end, True), (1.001 * end + 1e-6, False)):
        z = torch.tensor(weight * a, dtype=torch.float64)
        assert bool(abs(weight) * sigmoid_slope(z) >= 1 - 1e-12) == keeps


@pytest.mark.parametrize("weight", [0.0, 1.0, -3.999])
def test_no_neuron_with_a_weight_below_four_keeps_the_gradient(weight: float) -> None:
    assert abs(weight) * float(sigmoid_slope(torch.tensor(0.0))) < 1
    assert sweet_spot(weight) == 0.0


def test_the_widest_sweet_spot_is_the_published_one() -> None:
    widest = minimize_scalar(lambda w: -sweet_spot(w), bounds=(4, 20), method="bounded", options={"xatol": 1e-8})
    assert round(float(widest.x), 4) == 6.8942
    assert round(-float(widest.fun), 5) == 0.44774


@pytest.mark.parametrize(("weights", "biases"), [(torch.ones(3), torch.ones(2)), (torch.ones(0), torch.ones(0))])
def test_a_chain_without_a_weight_and_a_bias_for_each_layer_is_refused(weights, biases) -> None:
    message = re.escape(f"weights of shape ({len(weights)},) and biases of shape ({len(biases)},) make no chain")
    with pytest.raises(ValueError, match=message):
        SigmoidChain(weights, biases)


def test_a_net_is_the_one_written_by_hand() -> None:
    net, x = SigmoidMLP(3, 12, 5, width=4), torch.rand(7, 3, 2, 2)
    *hidden, head = [module for module in net.modules() if isinstance(module, nn.Linear)]
    state = x.flatten(1)
    for layer in (net.first.linear, *hidden[1:]):
        state = torch.sigmoid(state @ layer.weight.T + layer.bias)
    torch.testing.assert_close(net(x), state @ head.weight.T + head.bias)


def test_nielsens_net_of_one_hidden_layer_has_no_stage() -> None:
    net = SigmoidMLP(1)
    assert sum(p.numel() for p in net.parameters()) == 784 * 30 + 30 + 30 * 10 + 10
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_the_layers_of_one_width_are_a_stage_without_or_with_identities() -> None:
    x = torch.rand(3, 6)
    for flow, identity in ((plain_stage, 0), (residual_flow, 1)):
        net = SigmoidMLP(2, 6, flow=flow)
        assert isinstance(net.stage, ODEBlock)
        first = net.first(0.0, x)
        torch.testing.assert_close(net.stage(first), identity * first + net.stage.theta.nodes[0](0.0, first))
    plain = SigmoidMLP(2, 6).stage
    assert isinstance(plain, ODEBlock)
    assert plain.stepping == FixedSteps(Substitution())


def test_a_norm_comes_between_the_weights_and_the_sigmoid() -> None:
    layer, x = SigmoidLayer(8, in_features=5, norm=nn.BatchNorm1d), torch.rand(64, 5)
    z = torch.logit(layer(0.0, x))
    torch.testing.assert_close(z.mean(dim=0), torch.zeros(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std(dim=0, correction=0), torch.ones(8), atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("initialize", "weight", "bias"),
    [(nielsen, 400**-0.5, 1.0), (unit_normal, 1.0, 1.0), (glorot, math.sqrt(2 / 1000), 0.0)],
)
def test_an_initialization_has_the_deviations_that_it_states(initialize, weight: float, bias: float) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(400, 600)
    initialize(layer)
    assert layer.weight.detach().std().item() == pytest.approx(weight, rel=0.01)
    assert layer.bias.detach().std().item() == pytest.approx(bias, rel=0.1)


def test_every_layer_of_a_net_is_initialized_as_asked() -> None:
    net = SigmoidMLP(3, 9, initialize=glorot)
    assert all(not m.bias.any() for m in net.modules() if isinstance(m, nn.Linear))


def test_images_of_another_size_are_refused_with_both() -> None:
    with pytest.raises(ValueError, match="images of 64 features; its first layer has in_features=784"):
        SigmoidMLP(2)(torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("name", ["depth", "in_features", "num_classes", "width"])
def test_a_net_of_no_layers_or_neurons_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1, got 0"):
        SigmoidMLP(**({"depth": 2} | {name: 0}))  # pyright: ignore[reportArgumentType]
