"""DeconvNet: a VGG-16 encoder and its mirror image as decoder, with unpooling and deconvolution (Noh et al. 2015).

Each unpooling of the decoder puts values back where the corresponding pooling of the encoder took maxima, and the
deconvolutions after it fill in the pixels between them. The paper cuts windows of 224×224 pixels out of an image; the
encoder turns each into a last map of 7×7 pixels, and this map into one vector.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from odenet.blocks.arguments import checked
from odenet.blocks.branches import Norm
from odenet.layers.transpose_convolution import TransposeConvolution
from odenet.layers.upsampling import MakeUpsampling, MaxUnpooling, center_crop_or_pad
from odenet.models.images import require_images

VGG16 = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)
"""Numbers of filters of the convolutions of VGG-16, stage by stage."""


class Shift(nn.Module):
    """x_c ↦ x_c + β_c for each channel c, with β = 0 at initialization: a bias in place of a normalization."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return x + β, for x of shape (batch, channels, height, width)."""
        return x + self.bias[:, None, None]


def shifted_batch_norm(channels: int) -> nn.Sequential:
    """Build BatchNorm without its scale, (x - mean)/√variance + β.

    The scale is redundant, since the layer after the ReLU has it in its weights. So the number of parameters is that of
    the biases that this layer replaces.
    """
    return nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(channels, affine=False), shift=Shift(channels)))


class WindowCode(nn.Module):
    """Bottleneck: map → one vector (code) for each window → one window from each code → mean of overlapping windows.

    On a map of one window these are the layers fc6, fc7 and fc6-deconv of the paper. On a larger map they are applied
    to every window, and overlapping windows are averaged, so that the values do not grow with the size of the map. A
    smaller map is padded with zeros.

    Args:
        channels: number of channels of the map, before and after.
        hidden: length of the codes.
        window: side of a window, in pixels.
        norm: constructor of a normalization layer, called with the number of channels; one follows each layer.
    """

    def __init__(self, channels: int, hidden: int, window: int, norm: Norm) -> None:
        super().__init__()
        self.window = window
        self.fc6 = nn.Sequential(_convolution(channels, hidden, window), norm(hidden), nn.ReLU())
        self.fc7 = nn.Sequential(_convolution(hidden, hidden, 1), norm(hidden), nn.ReLU())
        self.deconv = TransposeConvolution(hidden, channels, factor=1, kernel=window, padding=0, bias=False)
        self.finish = nn.Sequential(norm(channels), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Encode and decode x of shape (batch, channels, h, w); the output has the same shape."""
        padded = center_crop_or_pad(x, [max(self.window, n) for n in x.shape[2:]])
        self._require_statistics(padded)
        codes = self.fc7(self.fc6(padded))
        y = self.deconv(codes) / self._windows_over_each_pixel(codes)
        return self.finish(center_crop_or_pad(y, x.shape[2:]))

    def _require_statistics(self, padded: Tensor) -> None:
        single = len(padded) == 1 and max(padded.shape[2:]) == self.window
        if self.training and single and any(isinstance(m, _BatchNorm) for m in self.fc6.modules()):
            raise ValueError(
                f"a DeconvNet with BatchNorm was given, in training mode, one image whose last map is one window of "
                f"{self.window}×{self.window} pixels; a single code has no variance to normalize by: pass several "
                "images or larger ones, build the net with norm=group_norm, or call eval()."
            )

    def _windows_over_each_pixel(self, codes: Tensor) -> Tensor:
        one = codes.new_ones(1, 1, self.window, self.window)
        return F.conv_transpose2d(codes.new_ones(1, 1, *codes.shape[2:]), one)


class DeconvNet(nn.Module):
    """Encoder-decoder: convolutions and poolings → code → upsamplings and deconvolutions → logits for each pixel.

    Args:
        stages: numbers of filters of the encoder, one sequence for each stage with one number for each convolution; the
            decoder has the same in reverse.
        num_classes: number of classes, and of logits for each pixel.
        in_channels: number of channels of the images.
        hidden: length of a code.
        window: side, in pixels, of the window of the last map that is encoded.
        norm: constructor of a normalization layer, called with the number of channels; one follows each layer.
        upsampling: constructor of an upsampling, called with the numbers of input and output channels, which are equal.

    Raises:
        ValueError: if a count is not a positive integer, if there is no stage or one without convolutions, or if images
            have another number of channels.
    """

    @checked
    def __init__(
        self,
        stages: Sequence[Sequence[int]],
        num_classes: int,
        in_channels: int,
        hidden: int,
        window: int,
        norm: Norm,
        upsampling: MakeUpsampling,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        first, widths = stages[0][0], [stage[-1] for stage in stages]
        befores = [in_channels, *widths[:-1]]
        afters = [first, *widths[:-1]]  # the head, not the last deconvolution, reduces the channels to classes
        filters = partial(_convolution, kernel=3, padding=1)
        self.down = nn.ModuleList(_stage([a, *b], filters, norm) for a, b in zip(befores, stages, strict=True))
        self.code = WindowCode(widths[-1], hidden, window, norm)
        self.ups = nn.ModuleList(upsampling(width, width) for width in reversed(widths))
        mirrored = [[*reversed(stage), after] for stage, after in zip(stages, afters, strict=True)]
        self.up = nn.ModuleList(_stage(channels, _deconvolution, norm) for channels in reversed(mirrored))
        self.head = nn.Conv2d(first, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits: (batch, in_channels, H, W) → (batch, num_classes, H, W), for any H and W."""
        require_images(x, self.in_channels, 1, self)
        poolings = []
        for stage in self.down:
            x = stage(x)
            size = x.shape[2:]
            x, indices = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
            poolings.append((size, indices))
        x = self.code(x)
        for upsampling, stage, (size, indices) in zip(self.ups, self.up, reversed(poolings), strict=True):
            x = stage(upsampling(x, size, indices))
        return self.head(x)


@checked
def deconvnet(
    num_classes: int = 21,
    in_channels: int = 3,
    *,
    stages: Sequence[Sequence[int]] = VGG16,
    hidden: int = 4096,
    window: int = 7,
    norm: Norm = shifted_batch_norm,
    upsampling: MakeUpsampling = MaxUnpooling,
) -> DeconvNet:
    """Build the DeconvNet of Noh et al. 2015: 251,772,245 parameters; 69.6 % mean IoU on the test set of VOC 2012.

    >>> deconvnet(2, 1, stages=[(4, 4), (8,)], hidden=16, window=3)(torch.zeros(2, 1, 7, 13)).shape
    torch.Size([2, 2, 7, 13])

    Args:
        num_classes: number of classes, and of logits for each pixel.
        in_channels: number of channels of the images.
        stages: numbers of filters, one sequence for each stage with one number for each convolution; each stage ends by
            halving the map.
        hidden: length of the code of a window.
        window: side, in pixels, of the window of the last map that is encoded; 7 is the side of that map for an image
            of 224×224.
        norm: constructor of a normalization layer, called with the number of channels; the released net has
            `nn.BatchNorm2d`, with 16,704 parameters more; `Shift` does not normalize.
        upsampling: constructor of the upsampling of each stage.
    """
    return DeconvNet(stages, num_classes, in_channels, hidden, window, norm, upsampling)


def _stage(channels: Sequence[int], filters: Callable[[int, int], nn.Module], norm: Norm) -> nn.Sequential:
    """Build a chain of units relu ∘ norm ∘ filters, one from each number of channels to the next."""
    units = [(filters(a, b), norm(b), nn.ReLU()) for a, b in pairwise(channels)]
    return nn.Sequential(*(layer for unit in units for layer in unit))


def _convolution(in_channels: int, channels: int, kernel: int, padding: int = 0) -> nn.Conv2d:
    filters = nn.Conv2d(in_channels, channels, kernel, padding=padding, bias=False)
    nn.init.kaiming_normal_(filters.weight, nonlinearity="relu")
    return filters


def _deconvolution(in_channels: int, channels: int) -> TransposeConvolution:
    return TransposeConvolution(in_channels, channels, factor=1, bias=False)
