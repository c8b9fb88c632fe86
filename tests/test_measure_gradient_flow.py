"""Gradient norms agree with a backward pass, layers come in order of use, and the model is left unchanged."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from odenet import RK4, Autonomous, Constant, ContinuousAdjoint, FixedSteps, MLPBranch, ODEBlock, PiecewiseLinear
from odenet.measure import layer_gradients, weight_movement
from odenet.models import GoogLeNetOutput, SigmoidChain, googlenet, plain20, resnet20
from odenet.models.resnet import cifar_resnet


def images(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def square(outputs: Tensor) -> Tensor:
    return outputs.square().sum(dim=1).mean()


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Sigmoid(), nn.Flatten(), nn.Linear(12, 2))


def test_the_gradients_of_weights_and_biases_are_those_of_a_backward_pass() -> None:
    net, x = small_net(), images(5, 2, 4, 4)
    conv, linear = layer_gradients(net, x, square)
    square(net(x)).backward()
    for layer, module in ((conv, net[0]), (linear, net[4])):
        assert isinstance(module, nn.Conv2d | nn.Linear)
        assert module.weight.grad is not None
        assert module.bias is not None
        assert module.bias.grad is not None
        assert layer.weight == float(module.weight.detach().norm())
        assert layer.weight_gradient == float(module.weight.grad.norm())
        assert layer.bias_gradient == float(module.bias.grad.norm())


def test_the_error_is_the_root_mean_square_of_what_each_image_has_alone() -> None:
    net, x = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), images(6, 4)
    alone = [[layer.error**2 for layer in layer_gradients(net, x[i : i + 1], square)] for i in range(6)]
    expected = torch.tensor(alone).mean(dim=0).sqrt()
    together = torch.tensor([layer.error for layer in layer_gradients(net, x, square)])
    torch.testing.assert_close(together, expected)


def test_the_error_of_one_image_is_the_gradient_of_its_bias() -> None:
    for layer in layer_gradients(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), images(1, 4), square):
        assert layer.error == pytest.approx(layer.bias_gradient)


def test_a_chain_of_neurons_has_the_gradients_of_the_lectures_formula() -> None:
    chain = SigmoidChain(images(4).double(), images(4).double())
    layers = [nn.Linear(1, 1).double() for _ in range(4)]
    for layer, weight, bias in zip(layers, chain.weights, chain.biases, strict=True):
        nn.init.constant_(layer.weight, weight.item())
        nn.init.constant_(layer.bias, bias.item())
    net = nn.Sequential(*(part for layer in layers for part in (layer, nn.Sigmoid())))
    a = torch.tensor([[0.3]], dtype=torch.float64)
    measured = [layer.bias_gradient for layer in layer_gradients(net, a, torch.sum)]
    assert measured == pytest.approx(chain.bias_gradients(a[0, 0]).abs().tolist(), rel=1e-12)


@pytest.mark.parametrize("make", [plain20, resnet20])
def test_the_layers_of_a_deep_net_have_the_depths_one_to_twenty(make) -> None:
    layers = layer_gradients(make(in_channels=1), images(2, 1, 8, 8), square)
    assert [layer.depth for layer in layers] == list(range(1, 21))
    assert layers[0].name == "stem.conv"
    assert layers[-1].name == "head"


def test_googlenet_is_22_layers_deep_and_its_branches_stand_side_by_side() -> None:
    def cost(outputs: GoogLeNetOutput) -> Tensor:
        return outputs.combine(square)

    depths = {e.name: e.depth for e in layer_gradients(googlenet(10, 1), images(2, 1, 32, 32), cost)}
    assert depths["head"] == max(depths.values()) == 22
    assert [depths[f"body.3a.{branch}.conv"] for branch in ("ones", "threes.reduce", "threes.filter")] == [4, 4, 5]
    assert depths["auxiliaries.4a.conv.conv"] == depths["body.4a.threes.filter.conv"] + 1


def test_layers_come_in_the_order_in_which_they_are_used_not_made() -> None:
    class Reversed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.late, self.early = nn.Linear(3, 2), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.late(self.early(x))

    layers = layer_gradients(Reversed(), images(2, 4), square)
    assert [(layer.name, layer.depth) for layer in layers] == [("early", 1), ("late", 2)]


def test_an_activation_in_place_changes_nothing() -> None:
    def net(inplace: bool) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace), nn.Linear(3, 3), nn.ReLU(inplace), nn.Linear(3, 2))

    x = images(5, 4)
    assert layer_gradients(net(True), x, square) == layer_gradients(net(False), x, square)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training: bool) -> None:
    net, x = small_net().train(training), images(5, 2, 4, 4)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():
        layer_gradients(net, x, square)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert all(module.training is training and not module._forward_hooks for module in net.modules())


def test_hooks_are_gone_after_an_error_too() -> None:
    net = small_net()
    with pytest.raises(RuntimeError):
        layer_gradients(net, images(5, 3, 4, 4), square)
    assert not any(module._forward_hooks for module in net.modules())


def test_a_layer_evaluated_several_times_has_an_entry_for_each_and_one_gradient() -> None:
    block = ODEBlock(Constant(Autonomous(nn.Linear(3, 3))), FixedSteps(RK4()))
    layers = layer_gradients(block, images(2, 3), square)
    assert [layer.depth for layer in layers] == [1, 2, 3, 4]
    assert len({layer.weight_gradient for layer in layers}) == 1
    assert len({layer.error for layer in layers}) == 4


def test_interpolated_weights_are_measured_as_they_are_used() -> None:
    theta = PiecewiseLinear([MLPBranch(3, 4) for _ in range(3)])
    layers = layer_gradients(ODEBlock(theta, FixedSteps("midpoint")), images(2, 3), square)
    assert len(layers) == 2 * 2 * 2  # pieces, stages, layers of the branch
    assert len({layer.weight for layer in layers}) > 4
    assert all(layer.weight_gradient > 0 for layer in layers)


def test_what_the_cost_does_not_depend_on_has_no_gradient() -> None:
    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            self.unused(x)
            return self.used(x)

    unused, used = sorted(layer_gradients(Aside(), images(2, 4), square), key=lambda layer: layer.weight_gradient)
    assert (unused.name, unused.weight_gradient, unused.error) == ("unused", 0.0, 0.0)
    assert used.error > 0


def test_a_frozen_weight_is_no_layer_and_a_frozen_bias_has_no_gradient() -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2), nn.Linear(2, 2, bias=False))
    net[0].weight.requires_grad_(False)
    net[1].bias.requires_grad_(False)
    layers = layer_gradients(net, images(2, 4), square)
    assert [(layer.name, layer.bias_gradient) for layer in layers] == [("1", None), ("2", None)]


def test_a_net_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ReLU evaluated no layer .* pass a network of convolutions or linear layers"):
        layer_gradients(nn.ReLU(), images(2, 3), square)


def test_a_layer_whose_graph_is_hidden_is_refused_by_name() -> None:
    block = ODEBlock(Constant(MLPBranch(3, 4)), gradient=ContinuousAdjoint())
    with pytest.raises(ValueError, match=r"layer theta.nodes.0.net.0 was evaluated without a graph.*Backprop\(\)"):
        layer_gradients(nn.Sequential(nn.Linear(3, 3), block)[1], images(2, 3), square)


def test_the_identity_carries_the_gradient_past_branches_that_do_nothing() -> None:
    net = cifar_resnet(2, in_channels=1, widths=(4,), norm=nn.Identity)
    for name, parameter in net.named_parameters():
        if name.endswith("conv2.weight"):
            nn.init.zeros_(parameter)
    stem, *branches, head = layer_gradients(net, images(3, 1, 8, 8), square)
    assert stem.error > 0
    assert head.error > 0
    assert [layer.error > 0 for layer in branches] == [False, True, False, True]


def test_movement_is_relative_and_of_weights_alone() -> None:
    net = small_net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    linear = net[4]
    assert isinstance(linear, nn.Linear)
    with torch.no_grad():
        linear.weight.mul_(1.5)
        linear.bias.add_(1.0)
    assert weight_movement(before, net.state_dict()) == {"0": 0.0, "4": pytest.approx(0.5)}
