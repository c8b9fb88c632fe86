"""The checkerboard that an upsampling leaves in a map: how much of it lies at the frequencies of the stride."""

from __future__ import annotations

from torch import Tensor

from odenet.blocks.annotations import Whole
from odenet.blocks.arguments import checked


@checked
def checkerboard_energy(maps: Tensor, stride: Whole = 2) -> float:
    """The share of the energy of maps, mean removed, at the frequencies (k/s, l/s) cycles a pixel, (k, l) ≠ (0, 0).

    By Parseval's theorem that is the share of the variance of each map that the position modulo s explains: the
    variance between the s² phases over that of all pixels, sums over maps and channels. 0 for pixels repeated s times,
    and nearly 0 for a picture of anything large; 1 for a pattern of period s; 0 for constant maps.

    Args:
        maps: of shape (batch, channels, height, width); rows and columns beyond a multiple of s are left out.
        stride: s, from 2 on.

    Raises:
        ValueError: a stride below 2, or maps smaller than it.

    >>> import torch
    >>> checkerboard_energy(torch.eye(2).repeat(1, 1, 4, 4))
    1.0
    """
    rows, columns = (side // stride if stride > 1 else 0 for side in maps.shape[2:])
    if not rows or not columns:
        raise ValueError(
            f"stride = {stride!r} for maps of {maps.shape[2]}×{maps.shape[3]} pixels; a pattern of that period has 2 "
            "phases or more, and shows in a map that has all of them: pass a stride from 2 on, and larger maps."
        )
    cells = maps.detach().double()[:, :, : rows * stride, : columns * stride]
    phases = cells.unflatten(3, (columns, stride)).unflatten(2, (rows, stride)).mean(dim=(2, 4))
    between, total = (values.flatten(2).var(dim=2, correction=0).sum() for values in (phases, cells))
    return float(between / total) if total > 0 else 0.0
