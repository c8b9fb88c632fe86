"""ResNets have the published sizes and compute what torchvision's and a hand-written net compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from odenet import (
    RK4,
    Adaptive,
    BottleneckBranch,
    ContinuousAdjoint,
    FixedSteps,
    NonFiniteState,
    Nonnegative,
    ODEBlock,
    configure,
    group_norm,
)
from odenet.models import (
    ResNet,
    cifar_resnet,
    imagenet_resnet,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet101,
    resnet110,
    resnet152,
    resnet1202,
)
from odenet.models.resnet import PaddedShortcut, projected_shortcut
from tests.network_cases import multiply_adds

CIFAR: dict[Callable[..., ResNet], tuple[int, int, float, float]] = {
    resnet20: (269_722, 269_434, 40.55, 30.82),
    resnet32: (464_154, 463_866, 68.86, 52.50),
    resnet44: (658_586, 658_298, 97.17, 74.17),
    resnet56: (853_018, 852_730, 125.49, 95.85),
    resnet110: (1_727_962, 1_727_674, 252.89, 193.39),
    resnet1202: (19_421_274, 19_420_986, 2829, 2166),
}
"""Parameters with 3 channels and with 1; millions of multiply-adds at 32×32×3 and at 28×28×1 (He et al. 2015, §4.2)."""

IMAGENET: dict[Callable[..., ResNet], tuple[int, float]] = {
    resnet18: (11_689_512, 1.814),
    resnet34: (21_797_672, 3.664),
    resnet50: (25_557_032, 4.089),
    resnet101: (44_549_160, 7.801),
    resnet152: (60_192_808, 11.514),
}
"""Parameters, and billions of multiply-adds at 224×224 (He et al. 2015, table 1)."""

OPTION_B = 2_752
"""Number of parameters of the two projected shortcuts of a CIFAR net."""


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def on_meta(make: Callable[..., ResNet], **options: Any) -> ResNet:
    """Build the network on the meta device, without storage."""
    with torch.device("meta"):
        return make(**options)


def small(**options: Any) -> ResNet:
    torch.manual_seed(0)
    return cifar_resnet(2, widths=(4, 4, 8), **options)


# Counts


@pytest.mark.parametrize("make", CIFAR, ids=lambda make: make.__name__)
def test_cifar_nets_have_the_published_parameters(make: Callable[..., ResNet]) -> None:
    three, one, *_ = CIFAR[make]
    assert parameters(on_meta(make)) == three
    assert parameters(on_meta(make, in_channels=1)) == one
    assert parameters(on_meta(make, num_classes=100)) == three + 90 * 65
    assert parameters(on_meta(make, shortcut=projected_shortcut)) == three + OPTION_B


@pytest.mark.parametrize("make", [make for make in CIFAR if make is not resnet1202], ids=lambda make: make.__name__)
def test_cifar_nets_have_the_published_multiply_adds(make: Callable[..., ResNet]) -> None:
    *_, three, one = CIFAR[make]
    assert multiply_adds(on_meta(make), 1, 3, 32, 32) / 1e6 == pytest.approx(three, abs=0.005)
    assert multiply_adds(on_meta(make, in_channels=1), 1, 1, 28, 28) / 1e6 == pytest.approx(one, abs=0.005)


@pytest.mark.parametrize("make", IMAGENET, ids=lambda make: make.__name__)
def test_imagenet_nets_have_the_published_parameters_and_multiply_adds(make: Callable[..., ResNet]) -> None:
    expected, operations = IMAGENET[make]
    assert parameters(on_meta(make)) == expected
    assert multiply_adds(on_meta(make), 1, 3, 224, 224) / 1e9 == pytest.approx(operations, abs=0.0006)


@pytest.mark.parametrize("make", CIFAR, ids=lambda make: make.__name__)
def test_a_net_has_as_many_layers_as_its_name_says(make: Callable[..., ResNet]) -> None:
    layers = [module for module in on_meta(make).modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert f"resnet{len(layers)}" == make.__name__


def test_stages_are_a_transition_and_a_flow_of_euler_steps() -> None:
    model = on_meta(resnet20)
    assert [[name for name, _ in stage.named_children()] for stage in model.stages] == [
        ["flow"],
        ["transition", "flow"],
        ["transition", "flow"],
    ]
    flows = [module for module in model.modules() if isinstance(module, ODEBlock)]
    assert [flow.theta.number_of_pieces for flow in flows] == [3, 2, 2]
    assert [flow.theta.horizon for flow in flows] == [3.0, 2.0, 2.0]
    assert all(flow.stepping == FixedSteps() and flow.projection == Nonnegative() for flow in flows)
    assert [flow.label for flow in flows] == [f"block 'stages.{i}.flow'" for i in range(3)]


def test_a_stage_of_one_block_that_is_a_transition_has_no_flow() -> None:
    model = cifar_resnet(1, widths=(4, 8))
    assert [[name for name, _ in stage.named_children()] for stage in model.stages] == [["flow"], ["transition"]]


# Values


def by_hand(weights: Iterator[Tensor], x: Tensor, blocks: int, training: bool, identity: bool = True) -> Tensor:
    """Evaluate ResNet-(6·blocks + 2) of He et al. 2015 with option A, from the tensors of its layers in order."""

    def convolution(x: Tensor, stride: int) -> Tensor:
        x = F.conv2d(x, next(weights), stride=stride, padding=1)
        gamma, beta, mean, variance, _count = (next(weights) for _ in range(5))
        return F.batch_norm(x, mean.clone(), variance.clone(), gamma, beta, training)

    x = F.relu(convolution(x, 1))
    for stage in range(3):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            y = convolution(F.relu(convolution(x, stride)), 1)
            if identity:
                padding = y.new_zeros(len(x), y.shape[1] - x.shape[1], *y.shape[2:])
                y = torch.cat([x[:, :, ::stride, ::stride], padding], dim=1) + y
            x = F.relu(y)
    return F.linear(x.mean((2, 3)), next(weights), next(weights))


def with_statistics(model: nn.Module) -> nn.Module:
    """Give every BatchNorm different statistics and affine maps, so that leaving one out is noticed."""
    generator = torch.Generator().manual_seed(1)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_(std=0.1, generator=generator)
        norm.running_var.uniform_(0.5, 2, generator=generator)
        nn.init.uniform_(norm.weight, 0.5, 1.0, generator=generator)
        nn.init.normal_(norm.bias, std=0.1, generator=generator)
    return model


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_resnet20_is_the_one_written_by_hand_to_the_last_bit(training: bool) -> None:
    torch.manual_seed(0)
    model = with_statistics(resnet20()).train(training)
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        expected = by_hand(iter(model.state_dict().values()), x, 3, training)
        assert torch.equal(model(x), expected)


@pytest.mark.parametrize("make", IMAGENET, ids=lambda make: make.__name__)
def test_imagenet_nets_are_torchvisions_with_the_same_weights(make: Callable[..., ResNet]) -> None:
    torch.manual_seed(0)
    with torch.device("meta"):
        theirs = getattr(torchvision.models, make.__name__)(num_classes=10)
        ours = make(num_classes=10)
    theirs.to_empty(device="cpu")
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.05)
    for buffer in theirs.buffers():
        buffer.zero_()
    with_statistics(theirs)
    # Both list a block's convolutions and norms in order, and its shortcut last.
    names = dict(zip(theirs.state_dict(), ours.state_dict(), strict=True))
    assert names["layer2.0.downsample.0.weight"] == "stages.1.transition.shortcut.conv.weight"
    ours.load_state_dict({names[name]: tensor.clone() for name, tensor in theirs.state_dict().items()}, assign=True)
    x = torch.randn(2, 3, 40, 33)
    with torch.no_grad():
        for training in (True, False):
            ours.train(training)
            theirs.train(training)
            torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    for name, buffer in theirs.named_buffers():
        torch.testing.assert_close(ours.get_buffer(names[name]), buffer)


def test_weights_are_drawn_as_torchvision_draws_them() -> None:
    torch.manual_seed(0)
    for module in resnet20().modules():
        if isinstance(module, nn.Conv2d) and module.out_channels == 64:
            expected = (2 / (module.out_channels * 9)) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.05)


def test_a_pre_activation_net_ends_with_the_norm_that_its_last_branch_lacks() -> None:
    model = small(activation="pre")
    assert [name for name, _ in model.stem.named_children()] == ["conv"]
    assert [name for name, _ in model.finish.named_children()] == ["norm", "relu"]
    flows = [module for module in model.modules() if isinstance(module, ODEBlock)]
    assert all(flow.projection is None for flow in flows)


def test_the_padded_shortcut_takes_every_second_pixel_and_pads_with_zeros() -> None:
    x = torch.arange(2 * 2 * 5 * 4.0).view(2, 2, 5, 4)
    y = PaddedShortcut(2, 5, 2)(x)
    assert torch.equal(y[:, :2], x[:, :, ::2, ::2])
    assert torch.equal(y[:, 2:], torch.zeros(2, 3, 3, 2))
    assert not list(PaddedShortcut(2, 5, 2).parameters())


# Options


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, group_norm])
@pytest.mark.parametrize("activation", ["pre", "post"])
def test_options_reach_every_part_and_every_parameter_learns(activation: str, norm: Any) -> None:
    # With width 1, BatchNorm after the 3×3 convolution would cancel the scale of the norm before it: zero gradient.
    branch = partial(BottleneckBranch, width=2)
    model = small(activation=activation, norm=norm, branch=branch, num_classes=3, in_channels=2)
    model(torch.randn(4, 2, 8, 8)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    kinds = {type(module) for module in model.modules() if isinstance(module, nn.BatchNorm2d | nn.GroupNorm)}
    assert kinds == {nn.BatchNorm2d if norm is nn.BatchNorm2d else nn.GroupNorm}


def test_a_pre_activation_net_becomes_an_ode_net_by_configuration() -> None:
    model = small(activation="pre", norm=group_norm).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    configure(model, stepping=FixedSteps(RK4(), per_piece=8))
    fine = model(x)
    configure(model, stepping=Adaptive("dopri5", 1e-6, 1e-6), gradient=ContinuousAdjoint())
    adaptive = model(x)
    torch.testing.assert_close(adaptive, fine, rtol=1e-3, atol=1e-3)
    adaptive.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@torch.no_grad()
def test_a_post_activation_net_has_the_limit_of_projected_steps() -> None:
    model, x = small().eval(), torch.randn(2, 3, 8, 8)
    configure(model, stepping=FixedSteps(per_piece=512))
    fine = model(x)
    configure(model, stepping=Adaptive("dopri5", 1e-5, 1e-5))
    torch.testing.assert_close(model(x), fine, rtol=1e-2, atol=1e-2)
    with pytest.raises(ValueError, match=r"projection = Nonnegative\(\)"):
        configure(model, gradient=ContinuousAdjoint())


# Bad input


@pytest.mark.parametrize("size", [(3, 3), (3, 9), (4, 4), (5, 33), (17, 6)], ids=str)
def test_small_image_nets_take_any_size_from_three_pixels_on(size: tuple[int, int]) -> None:
    assert small().eval()(torch.randn(1, 3, *size)).shape == (1, 10)


@pytest.mark.parametrize("size", [(17, 17), (17, 40), (32, 31), (65, 18)], ids=str)
def test_imagenet_nets_take_any_size_from_seventeen_pixels_on(size: tuple[int, int]) -> None:
    model = on_meta(imagenet_resnet, blocks=[1, 1, 1, 1]).eval()
    assert model(torch.empty(1, 3, *size, device="meta")).shape == (1, 1000)
    assert min(model.features(torch.empty(1, 3, *size, device="meta")).shape[2:]) >= 1


@pytest.mark.parametrize(
    ("make", "smallest"),
    [(small, 3), (lambda: on_meta(imagenet_resnet, blocks=[1, 1, 1, 1]), 17)],
    ids=["small", "imagenet"],
)
def test_images_smaller_than_the_strides_allow_are_refused(make: Callable[[], ResNet], smallest: int) -> None:
    model = make()
    for height, width in ((smallest - 1, 40), (40, smallest - 1)):
        said = rf"ResNet was given images of {height}×{width} pixels; .* below {smallest}×{smallest}: enlarge"
        with pytest.raises(ValueError, match=said):
            model(torch.empty(1, 3, height, width, device=next(model.parameters()).device))


def test_images_of_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 1, 8, 8\); it takes \(batch, 3, .* in_channels=1"):
        small()(torch.randn(2, 1, 8, 8))


@pytest.mark.parametrize("name", ["num_classes", "in_channels"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True], ids=repr)
def test_counts_that_are_no_positive_integers_are_refused(name: str, value: Any) -> None:
    for make in (resnet20, resnet18):
        with pytest.raises((TypeError, ValueError), match=rf"{name} must be a whole number.*, got {value!r}"):
            on_meta(make, **{name: value})


def test_numbers_of_blocks_that_are_no_positive_integers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"blocks must be a whole number of at least 1, got 0"):
        cifar_resnet(0)
    with pytest.raises(ValueError, match=r"blocks\[2\] must be a whole number of at least 1, got -1"):
        imagenet_resnet([1, 1, -1])


def test_a_fault_in_a_network_names_its_block() -> None:
    model = small()
    weight = model.get_parameter("stages.1.flow.theta.nodes.0.conv2.weight")
    with torch.no_grad():
        weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(NonFiniteState, match=r"of block 'stages\.1\.flow' is NaN at t = 0 \(piece 0, step 0, eval"):
        model(torch.randn(2, 3, 8, 8))
