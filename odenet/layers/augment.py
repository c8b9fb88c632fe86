"""Augmented states: channels that are appended before a flow and dropped after it (Dupont et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from odenet.blocks.arguments import checked


class Augment(nn.Module):
    """x ↦ [x, 0] or [x, a(x)]: appends p channels along dimension 1, as a transition before a flow.

    Two solutions of x′ = F(t, x) never meet, so a flow of points on a line keeps their order. In more dimensions they
    can go round each other (Dupont et al. 2019, *Augmented Neural ODEs*, section 4). The branch of the flow has as many
    channels as the augmented state, and `DropChannels` behind the flow drops the appended ones if they are not wanted:

    >>> from odenet import Constant, MLPBranch, ODEBlock
    >>> net = nn.Sequential(Augment(3), ODEBlock(Constant(MLPBranch(2 + 3))), DropChannels(3))
    >>> net(torch.zeros(10, 2)).shape
    torch.Size([10, 2])

    Args:
        appended: number p ≥ 1 of zeros to append, or a module that computes the appended channels a(x) from x, such as
            an initial velocity or a learned embedding.

    Raises:
        TypeError: if `appended` is neither a whole number nor a module.
        ValueError: if p < 1.
    """

    @checked
    def __init__(self, appended: int | nn.Module) -> None:
        super().__init__()
        self.appended = appended

    def forward(self, x: Tensor) -> Tensor:
        """Map x of shape (batch, channels, …) to (batch, channels + p, …).

        Raises:
            ValueError: if x has no dimension of channels, or the module returns another shape apart from them.
        """
        _require_channels(self, x)
        if isinstance(self.appended, int):
            return torch.cat([x, x.new_zeros(len(x), self.appended, *x.shape[2:])], dim=1)
        more = self.appended(x)
        if more.dim() != x.dim() or (len(more), *more.shape[2:]) != (len(x), *x.shape[2:]):
            raise ValueError(
                f"Augment was given a module that maps a state of shape {tuple(x.shape)} to {tuple(more.shape)}; its "
                "result is joined to the state along dimension 1: return the same shape apart from the channels."
            )
        return torch.cat([x, more], dim=1)

    def extra_repr(self) -> str:
        """Return the number of zeros, as shown by `print(model)`."""
        return str(self.appended) if isinstance(self.appended, int) else ""


class DropChannels(nn.Module):
    """[x, a] ↦ x: drops the last p channels, of dimension 1, as a transition after an augmented flow.

    Args:
        channels: number p ≥ 1 of channels to drop.
    """

    @checked
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Map x of shape (batch, channels, …) to (batch, channels - p, …).

        Raises:
            ValueError: if x has no more than p channels.
        """
        _require_channels(self, x)
        if x.shape[1] <= self.channels:
            raise ValueError(
                f"DropChannels({self.channels}) was given a state of shape {tuple(x.shape)}; nothing would be left of "
                f"its {x.shape[1]} channels: drop as many channels as Augment appended."
            )
        return x[:, : x.shape[1] - self.channels]

    def extra_repr(self) -> str:
        """Return the number of dropped channels, as shown by `print(model)`."""
        return str(self.channels)


def _require_channels(layer: nn.Module, x: Tensor) -> None:
    if x.dim() < 2:
        raise ValueError(
            f"{type(layer).__name__} was given a state of shape {tuple(x.shape)}; channels are dimension 1 of a batch: "
            "pass a state of shape (batch, channels, …), e.g. x.unsqueeze(1)."
        )
