"""Transpose convolution: upsampling by learned filters, one for each input pixel, summed where they overlap.

A convolution of stride s multiplies by a matrix, x = Cy; the transpose convolution is y = Cᵀx. If s does not divide the
size of the filter, some pixels of y are sums of more terms than their neighbours, which makes a checkerboard pattern
(Odena et al. 2016).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from odenet.blocks.annotations import WholeFromZero
from odenet.blocks.arguments import checked
from odenet.layers.upsampling import Channelwise, Upsampling, crop_or_pad


class TransposeConvolution(Upsampling):
    """y[j] = b + Σᵢ x[i]·w[j + padding - factor·i]: the filter moves `factor` pixels in y for one in x.

    The default has 3×3 filters, stride 2 and padding 1. The natural size is (n - 1)·factor - 2·padding + kernel; other
    sizes within one stride are reached by `output_padding`, which keeps pixels that the padding would cut off.

    The initial weights have variance 1 over the mean number of terms, so that y has about the variance of x.

    Args:
        in_channels: number of channels of x.
        channels: number of channels of y; by default that of x.
        factor: stride, the number of pixels of y for one of x along each axis.
        kernel: side of the filter, in pixels.
        padding: number of pixels cut off at each border.
        bias: whether to add a trainable b.
        dimensions: number of axes: 2 for maps, 1 for sequences of shape (batch, channels, length).

    Raises:
        ValueError: if a count is not a positive integer, if the padding would cut off a whole filter, or if
            `dimensions` is not 1 or 2.

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
                f"kernel = {kernel} with padding = {padding}; the output of a single pixel would be cut off: pass a "
                f"kernel of {2 * padding + 1} or more, or less padding."
            )
        if dimensions not in (1, 2):
            raise ValueError(
                f"dimensions = {dimensions!r}; transpose convolutions are implemented for 1 or 2: pass one of these."
            )
        make = nn.ConvTranspose1d if dimensions == 1 else nn.ConvTranspose2d
        self.filter = make(in_channels, self.channels, kernel, factor, padding, bias=bias)
        nn.init.normal_(self.filter.weight, std=(in_channels * (kernel / factor) ** dimensions) ** -0.5)
        if self.filter.bias is not None:
            nn.init.zeros_(self.filter.bias)

    def natural_size(self, small: Sequence[int]) -> tuple[int, ...]:
        """Return (n - 1)·factor - 2·padding + kernel for each side n of x."""
        return _natural_size(self.filter, small)

    def upsample(self, x: Tensor, size: Sequence[int], indices: Tensor | None) -> Tensor:  # noqa: ARG002
        """Return Cᵀx + b on exactly `size` pixels."""
        return transpose_convolve(self.filter, x, size)


class Bilinear(Channelwise):
    """Bilinear interpolation as a transpose convolution with the filter of `bilinear_kernel`, trainable or fixed.

    The filters have 2·factor - factor mod 2 pixels on a side and act on each channel separately, without bias (Long et
    al. 2015, section 3.3). Beyond the border x is zero, so the outer factor/2 pixels of y are smaller than those of
    `F.interpolate`.

    Args:
        in_channels: number of channels of x.
        channels: number of channels of y; by default that of x.
        factor: number of pixels of y for one of x along each axis.
        learned: whether the filters are trainable, initialized to interpolation, and may mix channels; otherwise they
            are fixed.
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

    def upsample_channels(self, x: Tensor, size: Sequence[int], indices: Tensor | None) -> Tensor:  # noqa: ARG002
        """Return Cᵀx on exactly `size` pixels."""
        return transpose_convolve(self.filter, x, size)


@checked
def bilinear_kernel(factor: int) -> Tensor:
    """Return k[i, j] = a[i]·a[j] with a[i] = 1 - |i - (K - 1)/2|/factor, i < K = 2·factor - factor mod 2.

    The entries sum to factor².

    >>> bilinear_kernel(2)[1]
    tensor([0.1875, 0.5625, 0.5625, 0.1875])
    """
    size = 2 * factor - factor % 2
    axis = 1 - (torch.arange(size) - (size - 1) / 2).abs() / factor
    return torch.outer(axis, axis)


@checked
@torch.no_grad()
def initialize_bilinear(filters: nn.ConvTranspose2d) -> None:
    """Set the weights of a transpose convolution to bilinear interpolation of each channel, in place.

    Raises:
        ValueError: if the numbers of input and output channels differ, or if the filters do not have 2·stride - stride
            mod 2 pixels on a side.
    """
    kernel = bilinear_kernel(filters.stride[0])
    if filters.in_channels != filters.out_channels or filters.kernel_size != kernel.shape:
        raise ValueError(
            f"{filters} cannot interpolate; bilinear interpolation of stride {filters.stride[0]} keeps the channels "
            f"and has filters of {len(kernel)}×{len(kernel)}: build the layer so, or keep its random weights."
        )
    filters.weight.zero_()
    for channel in range(filters.in_channels):
        filters.weight[channel, channel % filters.weight.shape[1]] = kernel


def transpose_convolve(filters: nn.ConvTranspose1d | nn.ConvTranspose2d, x: Tensor, size: Sequence[int]) -> Tensor:
    """Return Cᵀx + b on exactly `size` pixels, as if x were followed by zeros."""
    missing = [
        max(0, N - n) // filters.stride[0] for N, n in zip(size, _natural_size(filters, x.shape[2:]), strict=True)
    ]
    x = crop_or_pad(
        x, [n + zeros for n, zeros in zip(x.shape[2:], missing, strict=True)]
    )  # more pixels than output_padding can add
    whole = [max(N, n) for N, n in zip(size, _natural_size(filters, x.shape[2:]), strict=True)]
    return crop_or_pad(filters(x, output_size=whole), size)


def _natural_size(filters: nn.ConvTranspose1d | nn.ConvTranspose2d, small: Sequence[int]) -> tuple[int, ...]:
    parts = zip(small, filters.stride, filters.padding, filters.kernel_size, strict=True)
    return tuple((n - 1) * stride - 2 * int(padding) + kernel for n, stride, padding, kernel in parts)
