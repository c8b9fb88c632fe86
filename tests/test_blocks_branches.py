from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from odenet import Autonomous, BasicBranch, BottleneckBranch, ConcatConv, ConcatConvBranch, MLPBranch, group_norm
from tests.laws import BranchLaws


class TestPreActivationBasic(BranchLaws):
    def make(self) -> nn.Module:
        return BasicBranch(4)


class TestPostActivationBasic(BranchLaws):
    def make(self) -> nn.Module:
        return BasicBranch(4, activation="post", norm=group_norm)


class TestPreActivationBottleneck(BranchLaws):
    def make(self) -> nn.Module:
        return BottleneckBranch(4, width=2, norm=group_norm)


class TestPostActivationBottleneck(BranchLaws):
    def make(self) -> nn.Module:
        return BottleneckBranch(4, width=4, groups=2, activation="post")


class TestConcatConvBranch(BranchLaws):
    depends_on_time = True

    def make(self) -> nn.Module:
        return ConcatConvBranch(4)


class TestMLPBranch(BranchLaws):
    shape = (5, 3)
    depends_on_time = True

    def make(self) -> nn.Module:
        return MLPBranch(3, hidden=7, layers=2)


class TestAutonomous(BranchLaws):
    shape = (5, 3)

    def make(self) -> nn.Module:
        return Autonomous(nn.Linear(3, 3))


def image(channels: int = 4) -> torch.Tensor:
    return torch.randn(3, channels, 5, 6, generator=torch.Generator().manual_seed(1))


def test_a_pre_activation_branch_is_norm_relu_conv_twice() -> None:
    branch = BasicBranch(4)
    x = F.conv2d(F.relu(F.batch_norm(image(), None, None, training=True)), branch.conv1.weight, padding=1)
    x = F.conv2d(F.relu(F.batch_norm(x, None, None, training=True)), branch.conv2.weight, padding=1)
    assert torch.equal(branch(0.0, image()), x)


def test_a_post_activation_branch_is_conv_norm_relu_conv_norm() -> None:
    branch = BasicBranch(4, activation="post")
    x = F.relu(F.batch_norm(F.conv2d(image(), branch.conv1.weight, padding=1), None, None, training=True))
    x = F.batch_norm(F.conv2d(x, branch.conv2.weight, padding=1), None, None, training=True)
    assert torch.equal(branch(0.0, image()), x)


def test_a_bottleneck_goes_through_a_quarter_of_the_channels() -> None:
    branch = BottleneckBranch(8)
    shapes = [tuple(conv.weight.shape) for conv in (branch.conv1, branch.conv2, branch.conv3)]
    assert shapes == [(2, 8, 1, 1), (2, 2, 3, 3), (8, 2, 1, 1)]


def test_the_stride_of_a_bottleneck_is_in_its_three_by_three_convolution() -> None:
    branch = BottleneckBranch(8, in_channels=4, stride=2)
    assert [conv.stride for conv in (branch.conv1, branch.conv2, branch.conv3)] == [(1, 1), (2, 2), (1, 1)]


@pytest.mark.parametrize("activation", ["pre", "post"])
@pytest.mark.parametrize("kind", [BasicBranch, BottleneckBranch])
def test_with_a_stride_a_branch_serves_in_a_transition(kind: Any, activation: str) -> None:
    branch = kind(8, in_channels=4, stride=2, activation=activation)
    assert branch(0.0, image()).shape == (3, 8, 3, 3)
    assert branch.norm1.num_features == (4 if activation == "pre" else branch.conv1.out_channels)


def test_convolutions_of_residual_branches_have_no_bias() -> None:
    for branch in (BasicBranch(4), BottleneckBranch(4)):
        assert all(module.bias is None for module in branch.modules() if isinstance(module, nn.Conv2d))


def test_concat_conv_sees_the_time_as_one_more_channel() -> None:
    layer = ConcatConv(4, 2)
    t = torch.full((3, 1, 5, 6), 0.3)
    torch.testing.assert_close(layer(0.3, image()), layer.conv(torch.cat([t, image()], dim=1)))
    assert layer.conv.weight.shape == (2, 5, 3, 3)


def test_the_field_of_the_published_ode_net_has_75392_parameters() -> None:
    assert sum(p.numel() for p in ConcatConvBranch(64).parameters()) == 75_392
    assert sum(p.numel() for p in BasicBranch(64, norm=group_norm).parameters()) == 73_984


def test_an_mlp_takes_states_with_any_leading_dimensions() -> None:
    branch = MLPBranch(3)
    x = torch.randn(2, 5, 3)
    torch.testing.assert_close(branch(0.5, x)[1], branch(0.5, x[1]))
    assert branch(0.5, x[0, 0]).shape == (3,)


def test_an_autonomous_branch_is_its_module() -> None:
    module = nn.Linear(3, 3)
    x = torch.randn(2, 3)
    assert torch.equal(Autonomous(module)(17.0, x), module(x))


def test_group_norm_has_32_groups_or_one_a_channel() -> None:
    assert [group_norm(channels).num_groups for channels in (1, 8, 32, 64)] == [1, 8, 32, 32]
    with pytest.raises(ValueError, match="divisible"):
        group_norm(48)


@pytest.mark.parametrize("kind", [BasicBranch, BottleneckBranch, ConcatConvBranch, MLPBranch])
@pytest.mark.parametrize("channels", [0, -1, 2.0, True, "8"], ids=repr)
def test_a_width_that_is_no_positive_integer_is_refused(kind: Any, channels: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=rf" must be a whole number.*, got {channels!r}"):
        kind(channels)


def test_an_mlp_without_hidden_layers_or_units_is_refused() -> None:
    for layers in (0, 1.5):
        with pytest.raises((TypeError, ValueError), match=rf"layers must be a whole number.*, got {layers}"):
            MLPBranch(2, layers=cast(int, layers))
    with pytest.raises(ValueError, match="hidden must be a whole number of at least 1, got 0"):
        MLPBranch(2, hidden=0)


@pytest.mark.parametrize("kind", [BasicBranch, BottleneckBranch])
def test_an_unknown_activation_is_refused_with_the_nearest(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"unknown activation 'past'; did you mean 'post'\? Known: post, pre"):
        kind(4, activation="past")


@pytest.mark.parametrize(
    ("channels", "groups", "width_per_group", "width"),
    [(256, 1, 64, 64), (2048, 32, 4, 1024), (256, 32, 4, 128), (512, 64, 4, 512), (1024, 1, 128, 512)],
)
def test_the_width_of_a_bottleneck_follows_from_its_groups(
    channels: int, groups: int, width_per_group: int, width: int
) -> None:
    with torch.device("meta"):
        branch = BottleneckBranch(channels, groups=groups, width_per_group=width_per_group)
    assert branch.conv2.weight.shape == (width, width // groups, 3, 3)


@pytest.mark.parametrize("value", [0, -1, 1.5, True], ids=repr)
@pytest.mark.parametrize("name", ["width", "groups", "width_per_group"])
def test_counts_of_a_bottleneck_that_are_no_positive_integers_are_refused(name: str, value: Any) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises((TypeError, ValueError), match=rf"^{name} must be a whole number.*, got {value!r}"):
        BottleneckBranch(8, **options)


def test_a_width_said_in_two_ways_is_refused() -> None:
    with pytest.raises(ValueError, match=r"width = 4 and width_per_group = 8 were asked for; .* pass one of them"):
        BottleneckBranch(8, width=4, width_per_group=8)
