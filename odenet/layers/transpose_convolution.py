"""Transpose convolution: upsampling with filters that are learned, each pixel writing one, overlaps summed.

A convolution of stride s is a matrix, x = Cy; this is the transposed one, y = Cᵀx. Where s does not divide the size of
the filter, some pixels of y are sums of more terms than their neighbours: the checkerboard (Odena et al. 2016).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from odenet.blocks.annotations import WholeFromZero
from odenet.blocks.arguments import checked
from odenet.layers.upsampling import Channelwise, Upsampling, fitted


class TransposeConvolution(Upsampling):
    """y[j] = b + Σᵢ x[i]·w[j + padding - factor·i]: the filter moves `factor` pixels in y for one in x.

    By default the lecture's 3×3, stride 2, pad 1. The natural size is (n - 1)·factor - 2·padding + kernel; another one
    within the stride is reached by `output_padding`, pixels that the padding would have cut off.

    The weights begin with variance 1 over the mean number of terms, so that y has about the variance of x.

    Args:
        in_channels: of x.
        channels: of y; those of x by default.
        factor: the stride.
        kernel: side of the filter.
        padding: pixels cut off at each border.
        bias: whether there is a b.
        dimensions: 2 for maps, 1 for sequences of shape (batch, channels, length).

    Raises:
        ValueError: a count that is none, more padding than a filter has pixels, other dimensions.

    >>> up = TransposeConvolution(1, kernel=3, padding=0, bias=False, dimensions=1)
    >>> up.filter.weight.data = torch.tensor([[[1.0, 10.0, 100.0]]])
    >>> up(torch.tensor([[[2.0, 3.0]]])).detach()
    tensor([[[  2.,  20., 203.,  30., 300.]]])
    """

    @checked
    def __init__(
        self,
        in_channels: int,
        channels: int | None = None,
        *,
        factor: int = 2,
        kernel: int = 3,
        padding: WholeFromZero = 1,
        bias: bool = True,
        dimensions: int = 2,
    ) -> None:
        super().__init__(in_channels, channels, factor=factor)
        if kernel <= 2 * padding:
            raise ValueError(
                f"kernel = {kernel} with padding = {padding}; a single pixel would be cut off entirely: pass a kernel "
                f"of {2 * padding + 1} or more, or less padding."
            )
        if dimensions not in (1, 2):
            raise ValueError(
                f"dimensions = {dimensions!r}; transpose convolutions here have 1 or 2: pass one of these."
            )
        make = nn.ConvTranspose1d if dimensions == 1 else nn.ConvTranspose2d
        self.filter = make(in_channels, self.channels, kernel, factor, padding, bias=bias)
        nn.init.normal_(self.filter.weight, std=(in_channels * (kernel / factor) ** dimensions) ** -0.5)
        if self.filter.bias is not None:
            nn.init.zeros_(self.filter.bias)

    def natural_size(self, small: Sequence[int]) -> tuple[int, ...]:
        """(n - 1)·factor - 2·padding + kernel for each side n of x."""
        return _natural(self.filter, small)

    def spread(self, x: Tensor, size: Sequence[int], indices: Tensor | None) -> Tensor:  # noqa: ARG002
        """Cᵀx + b, on exactly `size` pixels."""
        return transposed(self.filter, x, size)


class Bilinear(Channelwise):
    """Bilinear interpolation as a transpose convolution with the filter of `bilinear_kernel`, learned on or not.

    Filters of 2·factor - factor mod 2 pixels, each channel for itself, without bias (Long et al. 2015, section 3.3).
    Beyond the border of x there are zeros: the outer factor/2 pixels of y are darker than `F.interpolate` has them.

    Args:
        in_channels: of x.
        channels: of y; those of x by default.
        factor: pixels of y for one of x.
        learned: whether the filters only begin so, and may mix channels; else they stay, and cost no parameters.
    """

    @checked
    def __init__(self, in_channels: int, channels: int | None = None, *, factor: int = 2, learned: bool = True) -> None:
        super().__init__(in_channels, channels, factor=factor)
        kernel, channels = 2 * factor - factor % 2, self.channels
        groups = 1 if learned else channels
        self.filter = nn.ConvTranspose2d(
            channels, channels, kernel, factor, (kernel - factor) // 2, groups=groups, bias=False
        )
        initialize_bilinear(self.filter)
        self.filter.requires_grad_(learned)

    def spread_channels(self, x: Tensor, size: Sequence[int], indices: Tensor | None) -> Tensor:  # noqa: ARG002
        """Cᵀx, on exactly `size` pixels."""
        return transposed(self.filter, x, size)


@checked
def bilinear_kernel(factor: int) -> Tensor:
    """k[i, j] = a[i]·a[j] with a[i] = 1 - |i - (K - 1)/2|/factor, i < K = 2·factor - factor mod 2: sums to factor².

    >>> bilinear_kernel(2)[1]
    tensor([0.1875, 0.5625, 0.5625, 0.1875])
    """
    size = 2 * factor - factor % 2
    axis = 1 - (torch.arange(size) - (size - 1) / 2).abs() / factor
    return torch.outer(axis, axis)


@checked
@torch.no_grad()
def initialize_bilinear(filters: nn.ConvTranspose2d) -> None:
    """Give a transpose convolution the weights of bilinear interpolation, each channel from itself alone.

    Raises:
        ValueError: other channels out than in, or filters of another size than 2·stride - stride mod 2.
    """
    kernel = bilinear_kernel(filters.stride[0])
    if filters.in_channels != filters.out_channels or filters.kernel_size != kernel.shape:
        raise ValueError(
            f"{filters} cannot interpolate: bilinear interpolation of stride {filters.stride[0]} keeps the channels "
            f"and has filters of {len(kernel)}×{len(kernel)}; build the layer so, or leave it its random weights."
        )
    filters.weight.zero_()
    for channel in range(filters.in_channels):
        filters.weight[channel, channel % filters.weight.shape[1]] = kernel


def transposed(filters: nn.ConvTranspose1d | nn.ConvTranspose2d, x: Tensor, size: Sequence[int]) -> Tensor:
    """Cᵀx + b on exactly `size` pixels: beyond those that x reaches it goes on as if zeros followed x."""
    beyond = [max(0, N - n) // filters.stride[0] for N, n in zip(size, _natural(filters, x.shape[2:]), strict=True)]
    x = fitted(x, [n + zeros for n, zeros in zip(x.shape[2:], beyond, strict=True)])  # what output_padding cannot do
    whole = [max(N, n) for N, n in zip(size, _natural(filters, x.shape[2:]), strict=True)]
    return fitted(filters(x, output_size=whole), size)


def _natural(filters: nn.ConvTranspose1d | nn.ConvTranspose2d, small: Sequence[int]) -> tuple[int, ...]:
    parts = zip(small, filters.stride, filters.padding, filters.kernel_size, strict=True)
    return tuple((n - 1) * stride - 2 * int(padding) + kernel for n, stride, padding, kernel in parts)
