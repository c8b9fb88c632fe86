"""What a network may ask of the images it is given."""

from __future__ import annotations

from torch import Tensor


def require_images(x: Tensor, channels: int, smallest: int, network: str) -> None:
    """Raise a `ValueError` unless `x` is (batch, channels, height, width) with sides of at least `smallest` pixels."""
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


def require_counts(**counts: int) -> None:
    """Raise a `ValueError` where a count (`num_classes=…`, `in_channels=…`, `blocks=…`) is not a positive integer."""
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} = {value!r}; a network has a whole number of them: pass an integer of 1 or more.")
