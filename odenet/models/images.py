"""Checks of the images that are given to a network: shape, size and dtype."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.fx import Proxy


def require_images(x: Tensor, channels: int, smallest: int, net: nn.Module) -> None:
    """Raise an error for images that `net` cannot process.

    Raises:
        TypeError: if `x` is not a tensor, or does not have the dtype of the net.
        ValueError: if `x` is not (batch, channels, height, width) with sides of at least `smallest` pixels.
    """
    if isinstance(x, Proxy):  # torch.fx is tracing the network, so there are no values to check
        return
    network = type(net).__name__
    if not hasattr(x, "dim"):
        raise TypeError(
            f"{network} was given a {type(x).__name__}; it takes a tensor (batch, {channels}, height, width): make "
            "one, e.g. with torch.from_numpy or odenet.data.image_files.read_picture."
        )
    if x.dim() != 4 or x.shape[1] != channels:
        raise ValueError(
            f"{network} was given a tensor of shape {tuple(x.shape)}; it takes (batch, {channels}, height, width): "
            f"reshape the images, or build the network with in_channels={x.shape[1] if x.dim() == 4 else '…'}."
        )
    if min(x.shape[2:]) < smallest:
        raise ValueError(
            f"{network} was given images of {x.shape[2]}×{x.shape[3]} pixels; its strides leave no pixel below "
            f"{smallest}×{smallest}: enlarge the images, or use a network with smaller strides."
        )
    require_dtype(x, net)


def require_dtype(x: Tensor, net: nn.Module) -> None:
    """Raise a `TypeError` unless `x` has the dtype of the first parameter of `net`, or autocast converts it."""
    dtype, network = next(net.parameters(), x).dtype, type(net).__name__
    if x.dtype == dtype:
        return
    if x.is_floating_point() and x.dtype != torch.float64 and torch.is_autocast_enabled(x.device.type):
        return
    if x.is_floating_point():
        remedy = f"images.to({dtype}), or the network with .to({x.dtype})"
    else:
        remedy = "bytes by (images / 255 - mean) / std, as in its training"
    raise TypeError(
        f"{network} with weights of {dtype} was given images of {x.dtype}; torch needs both in one dtype: "
        f"convert {remedy}."
    )
