"""What a network may ask of the images it is given."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.fx import Proxy


def require_images(x: Tensor, channels: int, smallest: int, net: nn.Module) -> None:
    """Refuse images that `net` cannot take.

    Raises:
        TypeError: `x` is no tensor, or not of the dtype of the net.
        ValueError: `x` is not (batch, channels, height, width) with sides of at least `smallest` pixels.
    """
    if isinstance(x, Proxy):  # torch.fx traces the network, and there is nothing yet to look at
        return
    network = type(net).__name__
    if not hasattr(x, "dim"):
        raise TypeError(
            f"{network} was given a {type(x).__name__}; it takes a tensor (batch, {channels}, height, width): make "
            "one, e.g. by torch.from_numpy or odenet.data.image_files.read_picture."
        )
    if x.dim() != 4 or x.shape[1] != channels:
        raise ValueError(
            f"{network} was given a tensor of shape {tuple(x.shape)}; it takes (batch, {channels}, height, width): "
            f"reshape the images, or build the network with in_channels={x.shape[1] if x.dim() == 4 else '…'}."
        )
    if min(x.shape[2:]) < smallest:
        raise ValueError(
            f"{network} was given images of {x.shape[2]}×{x.shape[3]} pixels; its strides leave nothing to halve below "
            f"{smallest}×{smallest}: enlarge the images, or use a network with smaller strides."
        )
    require_dtype(x, net)


def require_dtype(x: Tensor, net: nn.Module) -> None:
    """Raise a `TypeError` unless `x` is of the dtype of the first parameter of `net`, or autocast makes it so."""
    dtype, network = next(net.parameters(), x).dtype, type(net).__name__
    if x.dtype == dtype:
        return
    if x.is_floating_point() and x.dtype != torch.float64 and torch.is_autocast_enabled(x.device.type):
        return
    if x.is_floating_point():
        to_do = f"images.to({dtype}), or the network by .to({x.dtype})"
    else:
        to_do = "bytes by (images / 255 - mean) / std, as in its training"
    raise TypeError(
        f"{network} with weights of {dtype} was given images of {x.dtype}; torch multiplies numbers of one dtype: "
        f"convert {to_do}."
    )
