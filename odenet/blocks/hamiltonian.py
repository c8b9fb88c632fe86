"""Branches that are stable both forwards and backwards in time (Haber and Ruthotto 2017; Chang et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from odenet.blocks.arguments import checked
from odenet.blocks.branches import Norm
from odenet.blocks.theta import Time


class SymmetricBranch(nn.Module):
    """F(x) = -Kᵀ·σ(norm(K·x)), K a 3×3 convolution and σ the ReLU: its Jacobian is symmetric and negative.

    Exactly so without a norm, for a norm is no diagonal matrix. Stepped by `Leapfrog` it is the leapfrog block of Chang
    et al. 2018; x′ = F(x) is a heat equation, which contracts.

    Args:
        channels: of the state.
        norm: makes the normalization of a number of channels; `nn.Identity` for none.
    """

    @checked
    def __init__(self, channels: int, *, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = norm(channels)

    def forward(self, t: Time, x: Tensor) -> Tensor:  # noqa: ARG002
        """F(x) for x of shape (batch, channels, height, width)."""
        return -F.conv_transpose2d(torch.relu(self.norm(self.conv(x))), self.conv.weight, padding=1)


class HamiltonianBranch(nn.Module):
    """F([y, z]) = [K₁ᵀ·σ(norm(K₁·z)), -K₂ᵀ·σ(norm(K₂·y))] on two halves of the channels (Chang et al. 2018, section 3).

    Without norms a Hamiltonian system: nothing contracts, forwards or backwards. Stepped by `SymplecticEuler` it is the
    Hamiltonian block of the paper.

    Args:
        channels: of the state, an even number.
        norm: makes the normalization of a number of channels; `nn.Identity` for none.

    Raises:
        ValueError: an odd number of channels.
    """

    @checked
    def __init__(self, channels: int, *, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        if channels % 2:
            raise ValueError(
                f"a Hamiltonian branch of {channels} channels was asked for; it moves one half of them by the other: "
                "pass an even number."
            )
        self.of_z = SymmetricBranch(channels // 2, norm=norm)
        self.of_y = SymmetricBranch(channels // 2, norm=norm)

    def forward(self, t: Time, x: Tensor) -> Tensor:
        """F(x) for x of shape (batch, channels, height, width)."""
        y, z = x.chunk(2, dim=1)
        return torch.cat([-self.of_z(t, z), self.of_y(t, y)], dim=1)
