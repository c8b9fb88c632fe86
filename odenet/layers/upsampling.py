"""Upsampling layers with one interface: (batch, in_channels, h, w) → (batch, channels, H, W).

`up(x, size, indices)` returns a map of `size`, the size of the map that was pooled in the encoder, with even or odd
sides. A decoder takes a `MakeUpsampling`, one of these classes or a function, and calls it with (in_channels,
channels):

- `Nearest` repeats each pixel.
- `BedOfNails` puts each pixel into the corner of its cell and zeros elsewhere.
- `MaxUnpooling` puts each pixel where the paired max pooling found its maximum, and zeros elsewhere.
- `TransposeConvolution` and `Bilinear` (in `transpose_convolution`) multiply a filter by each pixel and sum overlaps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeAlias

from torch import Tensor, nn
from torch.nn import functional as F

from odenet.blocks.arguments import checked


class Upsampling(nn.Module, ABC):
    """y = U(x): base class of upsamplings, in which pixel i of x becomes the pixels of y from factor·i on.

    Args:
        in_channels: number of channels of x.
        channels: number of channels of y; by default that of x.
        factor: number of pixels of y for one of x along each axis: the stride of the pooling that is undone.

    Attributes:
        needs_indices: whether the positions of the maxima of the paired pooling must be given.

    Raises:
        ValueError: if a count is not a positive integer.
    """

    needs_indices: ClassVar[bool] = False

    def __init__(self, in_channels: int, channels: int | None = None, *, factor: int = 2) -> None:
        super().__init__()
        channels = in_channels if channels is None else channels
        self.in_channels, self.channels, self.factor = in_channels, channels, factor

    def forward(self, x: Tensor, size: Sequence[int] | None = None, indices: Tensor | None = None) -> Tensor:
        """Return y = U(x): (batch, in_channels, h, w) → (batch, channels, H, W).

        Args:
            x: small map.
            size: H and W, each with factor·(h - 1) < H < factor·(h + 1), the sizes that a pooling with this stride
                reduces to h pixels, with `ceil_mode` or without. Pixels that the pooling dropped at the end are filled
                with the last pixel or with zeros, depending on U. By default `natural_size`.
            indices: positions of the maxima, from `F.max_pool2d(…, return_indices=True)`; most upsamplings ignore them.

        Raises:
            ValueError: if no such pooling reduces `size` to the size of x, or if needed indices are missing or do not
                fit x.
        """
        natural = self.natural_size(x.shape[2:])
        size = natural if size is None else tuple(size)
        if size != natural:
            self._require_poolable(size, x.shape[2:])
        return self.upsample(x, size, indices)

    def natural_size(self, small: Sequence[int]) -> tuple[int, ...]:
        """Return the default size of y: `factor` times the size of x."""
        return tuple(self.factor * n for n in small)

    @abstractmethod
    def upsample(self, x: Tensor, size: Sequence[int], indices: Tensor | None) -> Tensor:
        """Return U(x) on `size` pixels, a size that has been checked."""

    def _require_poolable(self, size: Sequence[int], small: Sequence[int]) -> None:
        bounds = [(self.factor * (n - 1) + 1, self.factor * (n + 1) - 1) for n in small]
        if len(size) != len(small) or not all(low <= N <= high for N, (low, high) in zip(size, bounds, strict=True)):
            raise ValueError(
                f"{type(self).__name__} of factor {self.factor} was asked for {_pixels(size)} pixels from "
                f"{_pixels(small)}; pooling with that stride gives these only from sides of "
                f"{' and '.join(f'{low} to {high}' for low, high in bounds)}: pass the size of the map that was "
                "pooled, or another factor."
            )

    def extra_repr(self) -> str:
        """Return the settings that `print(model)` shows."""
        return f"{self.in_channels}, {self.channels}, factor={self.factor}"


MakeUpsampling: TypeAlias = Callable[[int, int], Upsampling]
"""Constructor of an upsampling from (in_channels, channels): `Nearest`, `partial(Bilinear, learned=False)`, …"""


class Channelwise(Upsampling):
    """y_c = U((Px)_c): a 1×1 convolution P to the channels of y, then U on each channel separately.

    There is no P if x and y have the same number of channels. P comes before U, because it costs factor² times less
    there, and because max unpooling needs the channels of the pooled map.
    """

    @checked
    def __init__(self, in_channels: int, channels: int | None = None, *, factor: int = 2) -> None:
        super().__init__(in_channels, channels, factor=factor)
        same = self.channels == in_channels
        self.project = nn.Identity() if same else nn.Conv2d(in_channels, self.channels, 1)

    def upsample(self, x: Tensor, size: Sequence[int], indices: Tensor | None) -> Tensor:
        """Return U(Px)."""
        return self.upsample_channels(self.project(x), size, indices)

    @abstractmethod
    def upsample_channels(self, x: Tensor, size: Sequence[int], indices: Tensor | None) -> Tensor:
        """Return U(x) for x with the channels of y."""


class Nearest(Channelwise):
    """y[i] = x[⌊i/factor⌋]: nearest-neighbour upsampling, which repeats each pixel.

    >>> import torch
    >>> Nearest(1)(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    tensor([[[[1., 1., 2., 2.],
              [1., 1., 2., 2.],
              [3., 3., 4., 4.],
              [3., 3., 4., 4.]]]])
    """

    def upsample_channels(self, x: Tensor, size: Sequence[int], indices: Tensor | None) -> Tensor:  # noqa: ARG002
        """Repeat each pixel, then crop, or repeat the last pixel once more."""
        y = F.interpolate(x, scale_factor=float(self.factor), mode="nearest")
        return crop_or_pad(y, size, mode="replicate")


class BedOfNails(Channelwise):
    """y[factor·i] = x[i], zero elsewhere: each pixel is put into the upper left corner of its cell.

    >>> import torch
    >>> BedOfNails(1)(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    tensor([[[[1., 0., 2., 0.],
              [0., 0., 0., 0.],
              [3., 0., 4., 0.],
              [0., 0., 0., 0.]]]])
    """

    def upsample_channels(self, x: Tensor, size: Sequence[int], indices: Tensor | None) -> Tensor:  # noqa: ARG002
        """Write x into every factor-th pixel of a map of zeros."""
        height, width = (self.factor * n for n in x.shape[2:])
        y = x.new_zeros(*x.shape[:2], *size)
        y[:, :, : height : self.factor, : width : self.factor] = x
        return y


class MaxUnpooling(Channelwise):
    """y[argmax of cell i] = x[i], zero elsewhere: an approximate inverse of max pooling (Noh et al. 2015).

    Pooling y gives x back where x ≥ 0. The cells of the pooling must not overlap: if one pixel is the maximum of two
    cells, only one value is written. In a decoder each unpooling is paired with one pooling of the encoder. On a GPU,
    torch refuses it under `use_deterministic_algorithms`, although the result is deterministic without overlap.

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

    def upsample_channels(self, x: Tensor, size: Sequence[int], indices: Tensor | None) -> Tensor:
        """Write each pixel of x to the position of its maximum."""
        if indices is None:
            raise ValueError(
                "MaxUnpooling was given no indices; only the paired pooling knows the positions of the maxima: pass "
                "the second result of F.max_pool2d(…, return_indices=True)."
            )
        if indices.shape != x.shape:
            raise ValueError(
                f"MaxUnpooling was given indices of shape {tuple(indices.shape)} for a map of shape {tuple(x.shape)}; "
                "each pixel needs one position: pass the indices of the paired pooling, whose map has the "
                "channels of the output."
            )
        return F.max_unpool2d(x, indices, [self.factor] * 2, output_size=list(size))


def crop_or_pad(y: Tensor, size: Sequence[int], mode: str = "constant") -> Tensor:
    """Crop `y` to `size`, or pad it with zeros or another `mode` of `F.pad`, below and on the right."""
    missing = [N - n for N, n in zip(size, y.shape[2:], strict=True)]
    return F.pad(y, [pad for extra in reversed(missing) for pad in (0, extra)], mode=mode) if any(missing) else y


def center_crop_or_pad(x: Tensor, size: Sequence[int]) -> Tensor:
    """Crop `x` to `size`, or pad it with zeros, equally on both sides.

    >>> import torch
    >>> center_crop_or_pad(torch.tensor([[[[1.0, 2.0]]]]), (1, 4))
    tensor([[[[0., 1., 2., 0.]]]])
    """
    missing = [N - n for N, n in zip(size, x.shape[2:], strict=True)]
    before = [int(extra / 2) for extra in missing]  # rounded towards 0, so that cropping undoes padding
    pads = [(first, extra - first) for first, extra in zip(before, missing, strict=True)]
    return F.pad(x, [pad for pair in reversed(pads) for pad in pair]) if any(missing) else x


def _pixels(size: Sequence[int]) -> str:
    return "×".join(map(str, size))
