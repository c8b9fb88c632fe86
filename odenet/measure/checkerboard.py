"""Checkerboard artefacts of upsampling, measured as energy of a map at the frequencies of the stride."""

from __future__ import annotations

from torch import Tensor

from odenet.blocks.annotations import Whole
from odenet.blocks.arguments import checked


@checked
def checkerboard_energy(maps: Tensor, stride: Whole = 2) -> float:
    """Compute the fraction of the variance of maps at the frequencies (k/s, l/s) cycles per pixel, (k, l) ≠ (0, 0).

    By Parseval's theorem this is the fraction of the variance that the position modulo s explains: the variance between
    the s² phases divided by that of all pixels, each summed over maps and channels. It is 1 for a pattern of period s,
    0 for pixels repeated s times and for constant maps, and nearly 0 for a smooth image.

    Args:
        maps: maps of shape (batch, channels, height, width); rows and columns beyond a multiple of s are ignored.
        stride: stride s of the upsampling, 2 or more.

    Raises:
        ValueError: if the stride is below 2, or larger than the maps.

    >>> import torch
    >>> checkerboard_energy(torch.eye(2).repeat(1, 1, 4, 4))
    1.0
    """
    rows, columns = (side // stride if stride > 1 else 0 for side in maps.shape[2:])
    if not rows or not columns:
        raise ValueError(
            f"stride = {stride!r} for maps of {maps.shape[2]}×{maps.shape[3]} pixels; the stride must be at least 2 "
            "and at most the side of the maps: pass a stride from 2 on, and larger maps."
        )
    cells = maps.detach().double()[:, :, : rows * stride, : columns * stride]
    phases = cells.unflatten(3, (columns, stride)).unflatten(2, (rows, stride)).mean(dim=(2, 4))
    between, total = (values.flatten(2).var(dim=2, correction=0).sum() for values in (phases, cells))
    return float(between / total) if total > 0 else 0.0
