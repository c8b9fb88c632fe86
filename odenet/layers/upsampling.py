"""Upsampling: small maps → large ones, (batch, in_channels, h, w) → (batch, channels, H, W), all behind one call.

`up(x, size, indices)` gives a map of `size`, that of the map that was once pooled, whether or not its sides are even.
A decoder is handed a `MakeUpsampling`, a class here or a function, and calls it with (in_channels, channels):

- `Nearest`: each pixel is repeated;
- `BedOfNails`: each pixel stands in the corner of its cell, among zeros;
- `MaxUnpooling`: each pixel returns to where the paired max pooling took its maximum, among zeros;
- `TransposeConvolution` and `Bilinear` (in `transpose_convolution`): each pixel writes a filter, overlaps are summed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeAlias

from torch import Tensor, nn
from torch.nn import functional as F

from odenet.blocks.arguments import checked


class Upsampling(nn.Module, ABC):
    """y = U(x): pixel i of x, counted along an axis, becomes the pixels of y from factor·i on.

    Args:
        in_channels: of x.
        channels: of y; those of x by default.
        factor: pixels of y for one of x, along each axis: the stride of the pooling that is undone.

    Attributes:
        needs_indices: whether the positions of the maxima of the paired pooling must be given.

    Raises:
        ValueError: a count that is not a positive integer.
    """

    needs_indices: ClassVar[bool] = False

    def __init__(self, in_channels: int, channels: int | None = None, *, factor: int = 2) -> None:
        super().__init__()
        channels = in_channels if channels is None else channels
        self.in_channels, self.channels, self.factor = in_channels, channels, factor

    def forward(self, x: Tensor, size: Sequence[int] | None = None, indices: Tensor | None = None) -> Tensor:
        """(batch, in_channels, h, w) → (batch, channels, H, W).

        Args:
            x: the small map.
            size: H and W, each with factor·(h - 1) < H < factor·(h + 1): all that pooling with this stride makes h
                pixels of, whether it rounds up or down; what a pooling dropped at the end is continued by the rule of U
                (the last pixel again, or zeros). By default `natural_size`.
            indices: positions of the maxima, from `F.max_pool2d(…, return_indices=True)`; of no meaning to most.

        Raises:
            ValueError: a size that no such pooling reduces to that of x, or indices missing or of another map.
        """
        natural = self.natural_size(x.shape[2:])
        size = natural if size is None else tuple(size)
        if size != natural:
            self._require_pooled(size, x.shape[2:])
        return self.spread(x, size, indices)

    def natural_size(self, small: Sequence[int]) -> tuple[int, ...]:
        """The size of y that x itself suggests: `factor` times its own."""
        return tuple(self.factor * n for n in small)

    @abstractmethod
    def spread(self, x: Tensor, size: Sequence[int], indices: Tensor | None) -> Tensor:
        """U(x) on `size` pixels, which is known to be possible."""

    def _require_pooled(self, size: Sequence[int], small: Sequence[int]) -> None:
        bounds = [(self.factor * (n - 1) + 1, self.factor * (n + 1) - 1) for n in small]
        if len(size) != len(small) or not all(low <= N <= high for N, (low, high) in zip(size, bounds, strict=True)):
            raise ValueError(
                f"{type(self).__name__} of factor {self.factor} was asked for {_pixels(size)} pixels out of "
                f"{_pixels(small)}; pooling of that stride makes so many only of sides of "
                f"{' and '.join(f'{low} to {high}' for low, high in bounds)}: pass the size of the map that was "
                "pooled, or another factor."
            )

    def extra_repr(self) -> str:
        """The settings, for `print(model)`."""
        return f"{self.in_channels}, {self.channels}, factor={self.factor}"


MakeUpsampling: TypeAlias = Callable[[int, int], Upsampling]
"""Makes the upsampling from a number of channels to another: `Nearest`, `partial(Bilinear, learned=False)`, …."""


class Channelwise(Upsampling):
    """y_c = U((Px)_c): a 1×1 convolution P to the channels of y, none where they are those of x, then U on each alone.

    P comes first, where it costs a factor² of what it would cost after, and where max unpooling needs it.
    """

    @checked
    def __init__(self, in_channels: int, channels: int | None = None, *, factor: int = 2) -> None:
        super().__init__(in_channels, channels, factor=factor)
        same = self.channels == in_channels
        self.project = nn.Identity() if same else nn.Conv2d(in_channels, self.channels, 1)

    def spread(self, x: Tensor, size: Sequence[int], indices: Tensor | None) -> Tensor:
        """U(Px)."""
        return self.spread_channels(self.project(x), size, indices)

    @abstractmethod
    def spread_channels(self, x: Tensor, size: Sequence[int], indices: Tensor | None) -> Tensor:
        """U(x) for x that has the channels of y."""


class Nearest(Channelwise):
    """y[i] = x[⌊i/factor⌋]: each pixel is repeated.

    >>> import torch
    >>> Nearest(1)(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    tensor([[[[1., 1., 2., 2.],
              [1., 1., 2., 2.],
              [3., 3., 4., 4.],
              [3., 3., 4., 4.]]]])
    """

    def spread_channels(self, x: Tensor, size: Sequence[int], indices: Tensor | None) -> Tensor:  # noqa: ARG002
        """Repeat, then cut off or repeat the last pixel once more."""
        y = F.interpolate(x, scale_factor=float(self.factor), mode="nearest")
        return fitted(y, size, mode="replicate")


class BedOfNails(Channelwise):
    """y[factor·i] = x[i], zero elsewhere: each pixel in the upper left corner of its cell.

    >>> import torch
    >>> BedOfNails(1)(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    tensor([[[[1., 0., 2., 0.],
              [0., 0., 0., 0.],
              [3., 0., 4., 0.],
              [0., 0., 0., 0.]]]])
    """

    def spread_channels(self, x: Tensor, size: Sequence[int], indices: Tensor | None) -> Tensor:  # noqa: ARG002
        """Write every factor-th pixel of zeros."""
        height, width = (self.factor * n for n in x.shape[2:])
        y = x.new_zeros(*x.shape[:2], *size)
        y[:, :, : height : self.factor, : width : self.factor] = x
        return y


class MaxUnpooling(Channelwise):
    """y[argmax of cell i] = x[i], zero elsewhere: what max pooling did, undone as far as it can be (Noh et al. 2015).

    Pooled again it gives x back where x ≥ 0. The cells of the pooling must not overlap: where one pixel is the maximum
    of two cells, only one of them is written. In a decoder each unpooling has one pooling of the encoder. On a GPU,
    torch refuses it under `use_deterministic_algorithms`, though without overlap nothing depends on an order.

    >>> import torch
    >>> picture = torch.tensor([[[[1.0, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]]]])
    >>> pooled, indices = F.max_pool2d(picture, 2, return_indices=True)
    >>> MaxUnpooling(1)(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), (4, 4), indices)
    tensor([[[[0., 0., 2., 0.],
              [0., 1., 0., 0.],
              [0., 0., 0., 0.],
              [3., 0., 0., 4.]]]])
    """

    needs_indices = True

    def spread_channels(self, x: Tensor, size: Sequence[int], indices: Tensor | None) -> Tensor:
        """Write each pixel to its position."""
        if indices is None:
            raise ValueError(
                "MaxUnpooling was given no indices; where the maxima were is known to the paired pooling alone: pass "
                "the second result of F.max_pool2d(…, return_indices=True)."
            )
        if indices.shape != x.shape:
            raise ValueError(
                f"MaxUnpooling was given indices of shape {tuple(indices.shape)} for a map of shape {tuple(x.shape)}; "
                "each pixel returns to one position: pass the indices of the paired pooling, whose map has the "
                "channels of the output."
            )
        return F.max_unpool2d(x, indices, [self.factor] * 2, output_size=list(size))


def fitted(y: Tensor, size: Sequence[int], mode: str = "constant") -> Tensor:
    """`y` on `size` pixels: cut off, or continued by zeros or another `mode` of `F.pad`, below and on the right."""
    missing = [N - n for N, n in zip(size, y.shape[2:], strict=True)]
    return F.pad(y, [pad for extra in reversed(missing) for pad in (0, extra)], mode=mode) if any(missing) else y


def centred(x: Tensor, size: Sequence[int]) -> Tensor:
    """`x` on `size` pixels: cut off, or surrounded by zeros, alike on both sides.

    >>> import torch
    >>> centred(torch.tensor([[[[1.0, 2.0]]]]), (1, 4))
    tensor([[[[0., 1., 2., 0.]]]])
    """
    missing = [N - n for N, n in zip(size, x.shape[2:], strict=True)]
    before = [int(extra / 2) for extra in missing]  # rounded towards 0, so that cutting off undoes surrounding
    pads = [(first, extra - first) for first, extra in zip(before, missing, strict=True)]
    return F.pad(x, [pad for pair in reversed(pads) for pad in pair]) if any(missing) else x


def _pixels(size: Sequence[int]) -> str:
    return "×".join(map(str, size))
