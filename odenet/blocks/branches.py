"""Branches: vector fields F(t, x) for residual flows, ordinary modules that keep the shape of the state.

A branch does not know its depth. An image state x has the shape (batch, channels, height, width), a vector state
(batch, features). With `in_channels` or `stride`, a convolutional branch changes the shape; it then belongs in a
transition (a residual block between two flows) and not in a flow. `SymmetricBranch` and `HamiltonianBranch` are stable
both forwards and backwards in time (Haber and Ruthotto 2017; Chang et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from odenet.blocks.arguments import checked
from odenet.blocks.theta.base import Time

Norm: TypeAlias = Callable[[int], nn.Module]
"""Function that makes a normalization layer for a given number of channels: `nn.BatchNorm2d`, `group_norm`, …"""

Activation: TypeAlias = Literal["pre", "post"]


@checked
def group_norm(channels: int) -> nn.GroupNorm:
    """Return a GroupNorm of 32 groups, or one group per channel if there are fewer (Chen et al. 2018, released code).

    Raises:
        ValueError: if there are more than 32 channels and 32 does not divide their number (from `nn.GroupNorm`).
    """
    return nn.GroupNorm(min(32, channels), channels)


class BasicBranch(nn.Module):
    """F(x) = conv₃ₓ₃ ∘ conv₃ₓ₃ with normalizations and ReLUs: the branch of ResNet-18/34 and of the CIFAR nets.

    `activation="pre"` (He et al. 2016b): norm-relu-conv, norm-relu-conv. `"post"` (He et al. 2015): conv-norm-relu,
    conv-norm; the ReLU after the addition is the flow's `projection`. The convolutions have no biases.

    Args:
        channels: number of channels of the output, and of x unless `in_channels` is given.
        activation: "pre" or "post".
        norm: function that makes a normalization layer for a number of channels.
        in_channels: number of channels of x, in a transition.
        stride: stride of the first convolution, in a transition.
    """

    @checked
    def __init__(
        self,
        channels: int,
        *,
        activation: Activation = "pre",
        norm: Norm = nn.BatchNorm2d,
        in_channels: int | None = None,
        stride: int = 1,
    ) -> None:
        super().__init__()
        in_channels = channels if in_channels is None else in_channels
        self.activation = activation
        self.conv1 = _conv(in_channels, channels, 3, stride)
        self.norm1 = norm(in_channels if activation == "pre" else channels)
        self.conv2 = _conv(channels, channels, 3)
        self.norm2 = norm(channels)

    def forward(self, t: Time, x: Tensor) -> Tensor:  # noqa: ARG002
        """Compute F(x) for x of shape (batch, channels, height, width); t is not used."""
        if self.activation == "pre":
            x = self.conv1(torch.relu(self.norm1(x)))
            return self.conv2(torch.relu(self.norm2(x)))
        x = torch.relu(self.norm1(self.conv1(x)))
        return self.norm2(self.conv2(x))


class BottleneckBranch(nn.Module):
    """F(x) = conv₁ₓ₁ ∘ conv₃ₓ₃ ∘ conv₁ₓ₁ through fewer channels: the branch of ResNet-50/101/152.

    The stride is in the 3×3 convolution, as in torchvision ("v1.5"; He et al. have it in the first 1×1).

    Args:
        channels: number of channels of the output, and of x unless `in_channels` is given.
        width: number of channels of the 3×3 convolution; by default ⌊channels/4 · width_per_group/64⌋·groups.
        activation: "pre" or "post", as in `BasicBranch`.
        norm: function that makes a normalization layer for a number of channels.
        groups: number of groups of the 3×3 convolution (ResNeXt; Xie et al. 2017).
        width_per_group: channels per group at 256 `channels`, as in a name like 32x4d; 128 with one group makes a wide
            ResNet (Zagoruyko and Komodakis 2016).
        in_channels: number of channels of x, in a transition.
        stride: stride of the 3×3 convolution, in a transition.

    Raises:
        ValueError: if a count is not a positive whole number, or both `width` and `width_per_group` are given.
    """

    @checked
    def __init__(
        self,
        channels: int,
        *,
        width: int | None = None,
        activation: Activation = "pre",
        norm: Norm = nn.BatchNorm2d,
        groups: int = 1,
        width_per_group: int = 64,
        in_channels: int | None = None,
        stride: int = 1,
    ) -> None:
        super().__init__()
        in_channels = channels if in_channels is None else in_channels
        width = _bottleneck_width(channels, width, groups, width_per_group)
        self.activation = activation
        before = activation == "pre"
        self.conv1 = _conv(in_channels, width, 1)
        self.norm1 = norm(in_channels if before else width)
        self.conv2 = _conv(width, width, 3, stride, groups)
        self.norm2 = norm(width)
        self.conv3 = _conv(width, channels, 1)
        self.norm3 = norm(width if before else channels)

    def forward(self, t: Time, x: Tensor) -> Tensor:  # noqa: ARG002
        """Compute F(x) for x of shape (batch, channels, height, width); t is not used."""
        if self.activation == "pre":
            x = self.conv1(torch.relu(self.norm1(x)))
            x = self.conv2(torch.relu(self.norm2(x)))
            return self.conv3(torch.relu(self.norm3(x)))
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(self.norm2(self.conv2(x)))
        return self.norm3(self.conv3(x))


class ConcatConv(nn.Module):
    """A 3×3 convolution of x with the time t appended as one more channel (Chen et al. 2018, released code)."""

    @checked
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels + 1, out_channels, 3, padding=1)

    def forward(self, t: Time, x: Tensor) -> Tensor:
        """Map x of shape (batch, in_channels, height, width) to (batch, out_channels, height, width), at time t."""
        time = torch.ones_like(x[:, :1]) * t
        return self.conv(torch.cat([time, x], dim=1))


class ConcatConvBranch(nn.Module):
    """F(t, x) of the ODE-Net: norm-relu-conv(t), norm-relu-conv(t), norm (Chen et al. 2018, released code)."""

    @checked
    def __init__(self, channels: int, *, norm: Norm = group_norm) -> None:
        super().__init__()
        self.norm1 = norm(channels)
        self.conv1 = ConcatConv(channels, channels)
        self.norm2 = norm(channels)
        self.conv2 = ConcatConv(channels, channels)
        self.norm3 = norm(channels)

    def forward(self, t: Time, x: Tensor) -> Tensor:
        """Compute F(t, x) for x of shape (batch, channels, height, width)."""
        x = self.conv1(t, torch.relu(self.norm1(x)))
        x = self.conv2(t, torch.relu(self.norm2(x)))
        return self.norm3(x)


class MLPBranch(nn.Module):
    """F(t, x) = W₂·tanh(W₁·[x, t] + b₁) + b₂ for vector states, of shape (batch, features).

    Args:
        features: number of features of the state.
        hidden: width of the hidden layer.
        layers: number of hidden layers.
    """

    @checked
    def __init__(self, features: int, hidden: int = 50, layers: int = 1) -> None:
        super().__init__()
        widths = [features + 1, *[hidden] * layers]
        modules = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.Tanh())]
        self.net = nn.Sequential(*modules, nn.Linear(hidden, features))

    def forward(self, t: Time, x: Tensor) -> Tensor:
        """Compute F(t, x) for x of shape (..., features)."""
        time = torch.ones_like(x[..., :1]) * t
        return self.net(torch.cat([x, time], dim=-1))


class Autonomous(nn.Module):
    """F(t, x) = module(x): a branch made of any module that takes the state alone and keeps its shape.

    >>> branch = Autonomous(nn.Linear(3, 3))
    >>> branch(0.0, torch.zeros(2, 3)).shape
    torch.Size([2, 3])
    """

    @checked
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, t: Time, x: Tensor) -> Tensor:  # noqa: ARG002
        """Return module(x), whatever t is."""
        return self.module(x)


def _conv(in_channels: int, out_channels: int, size: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, size, stride, padding=size // 2, groups=groups, bias=False)


def _bottleneck_width(channels: int, width: int | None, groups: int, width_per_group: int) -> int:
    if width is None:
        return max(1, channels // 4 * width_per_group // 64) * groups
    if width_per_group != 64:
        raise ValueError(
            f"width = {width} and width_per_group = {width_per_group} were both given, but the first follows from the "
            "second: pass one of them."
        )
    return width


class SymmetricBranch(nn.Module):
    """F(x) = -Kᵀ·σ(norm(K·x)) with a 3×3 convolution K and the ReLU σ: its Jacobian is symmetric and negative.

    This holds exactly without a norm; the Jacobian of a norm is not a diagonal matrix. With the solver `Leapfrog` the
    branch is the leapfrog block of Chang et al. 2018. The flow x′ = F(x) is a heat equation, which contracts.

    Args:
        channels: number of channels of the state.
        norm: function that makes a normalization layer for a number of channels; `nn.Identity` for none.
    """

    @checked
    def __init__(self, channels: int, *, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = norm(channels)

    def forward(self, t: Time, x: Tensor) -> Tensor:  # noqa: ARG002
        """Compute F(x) for x of shape (batch, channels, height, width)."""
        return -F.conv_transpose2d(torch.relu(self.norm(self.conv(x))), self.conv.weight, padding=1)


class HamiltonianBranch(nn.Module):
    """F([y, z]) = [K₁ᵀ·σ(norm(K₁·z)), -K₂ᵀ·σ(norm(K₂·y))] on two halves of the channels (Chang et al. 2018, section 3).

    Without norms x′ = F(x) is a Hamiltonian system, which does not contract forwards or backwards. With the solver
    `SymplecticEuler` the branch is the Hamiltonian block of the paper.

    Args:
        channels: number of channels of the state, an even number.
        norm: function that makes a normalization layer for a number of channels; `nn.Identity` for none.

    Raises:
        ValueError: if the number of channels is odd.
    """

    @checked
    def __init__(self, channels: int, *, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        if channels % 2:
            raise ValueError(
                f"channels must be even for a Hamiltonian branch, got {channels}; it moves one half of the channels by "
                "the other: pass an even number."
            )
        self.of_z = SymmetricBranch(channels // 2, norm=norm)
        self.of_y = SymmetricBranch(channels // 2, norm=norm)

    def forward(self, t: Time, x: Tensor) -> Tensor:
        """Compute F(x) for x of shape (batch, channels, height, width)."""
        y, z = x.chunk(2, dim=1)
        return torch.cat([-self.of_z(t, z), self.of_y(t, y)], dim=1)
