"""Fully convolutional networks: a label for every pixel by convolutions alone (Long, Shelhamer and Darrell 2015).

- `fcn` is a single flow at full resolution;
- `fcn32s` applies a classifier as a convolution of stride 32 and interpolates its map of scores;
- `fcn16s` and `fcn8s` also add scores of the maps of stride 16 and 8.

Each takes images of any size and returns logits of that size.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from odenet.blocks.annotations import Whole, WholeFromZero
from odenet.blocks.arguments import checked
from odenet.blocks.block import label_blocks
from odenet.blocks.branches import BasicBranch, Norm
from odenet.layers.grid import Grid
from odenet.models.fcn_trunks import Backbone, Classifier, backbone_of
from odenet.models.images import require_images
from odenet.models.resnet import Flow, residual_flow
from odenet.models.vgg import vgg16


class Interpolation(nn.Module):
    """y(p) = Σᵢ x[i]·(1 - |p - pᵢ|/s)₊ along each axis: bilinear interpolation from a coarse grid to a finer one.

    It is computed by a transpose convolution. The filters have 2s taps if the centres of coarse pixels lie between
    centres of fine ones (Long et al. 2015), and 2s - 1 if they coincide with fine ones. So the result is aligned with
    the image for every padding and pooling. The coarse map is first extended by one pixel on each side, by replication.

    Args:
        channels: number of channels of the map.
        coarse: grid of the map.
        fine: grid of the result, except for the place of its first pixel.
        learned: whether the filters are parameters, initialized to interpolation, that may mix channels; otherwise
            they are constants.

    Attributes:
        start: index of the first pixel of y on the fine grid, mostly negative.

    Raises:
        ValueError: if the coarse pixels lie neither on fine pixels nor half-way between them.
    """

    def __init__(self, channels: int, coarse: Grid, fine: Grid, *, learned: bool) -> None:
        super().__init__()
        factor, rest = divmod(coarse.stride, fine.stride)
        place = (coarse.centre - fine.centre) / fine.stride
        if rest or 2 * place % 1:
            raise ValueError(
                f"{coarse} cannot be interpolated on {fine}; its pixels must lie on those of the finer grid or half-way"
                " between them, with a stride that is a multiple of the finer one: choose other strides or paddings in"
                " the backbone."
            )
        self.factor = factor
        self.taps = 2 * factor - (place % 1 == 0)
        self.start = math.ceil(place - factor)
        self.groups = 1 if learned else channels
        filters = torch.zeros(channels, channels // self.groups, self.taps, self.taps)
        for channel in range(channels):
            filters[channel, channel % filters.shape[1]] = _triangle(self.taps, factor)
        if learned:
            self.filters = nn.Parameter(filters)
        else:
            self.register_buffer("filters", filters, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Interpolate (batch, channels, h, w) → (batch, channels, s·(h + 1), s·(w + 1)), plus 1 if `taps` is odd."""
        x = F.pad(x, (1, 1, 1, 1), mode="replicate")
        return F.conv_transpose2d(x, self.filters, stride=self.factor, padding=self.taps // 2, groups=self.groups)

    def extra_repr(self) -> str:
        """Return the settings that `print(model)` shows."""
        return f"factor={self.factor}, taps={self.taps}, start={self.start}, groups={self.groups}"


def _triangle(taps: int, factor: int) -> Tensor:
    axis = 1 - (torch.arange(taps) - (taps - 1) / 2).abs() / factor
    return torch.outer(axis, axis)


class FCN(nn.Module):
    """Fully convolutional net: image → maps of the backbone → class scores, interpolated and summed → logits.

    With maps mᵢ, numbered from the coarsest, 1×1 convolutions Sᵢ, learned interpolations Uᵢ and a fixed one V:

        y₀ = S₀ m₀        yᵢ = Uᵢ yᵢ₋₁ + Sᵢ mᵢ for each skip        logits = V y

    All S are initialized to zero, so a net to which `with_skip` adds a skip computes the same logits as before.

    Args:
        backbone: module that computes the maps of an image.
        num_classes: number of classes, and of logits for each pixel.
        skips: number of finer maps whose scores are added.
        padding: width of the border of zeros around the image, in pixels; by default such that the outermost pixels of
            the coarsest map lie within half a stride of the border of the image. The published nets have 100, which
            counts the padding of the first convolution.

    Raises:
        ValueError: if a count is negative or zero where it must be positive, if there are more skips than finer maps,
            or if images have another number of channels.
    """

    @checked
    def __init__(
        self, backbone: Backbone, num_classes: int, *, skips: Whole = 0, padding: WholeFromZero | None = None
    ) -> None:
        super().__init__()
        if not 0 <= skips < len(backbone.grids):
            raise ValueError(
                f"skips = {skips}; this backbone has {len(backbone.grids)} maps, and each except the coarsest can be "
                f"added once: pass 0 to {len(backbone.grids) - 1}, or a backbone of more stages."
            )
        self.trunk = backbone  # this name is in the state dicts of trained nets
        self.num_classes, self.skips = num_classes, skips
        coarsest = backbone.grids[-1]
        self.stride = coarsest.stride
        self.padding = max(0, math.ceil(coarsest.centre - coarsest.stride / 2)) if padding is None else padding
        self.scores = nn.ModuleList(_zero_score(n, num_classes) for n in backbone.channels[::-1][: skips + 1])
        *doublings, self.enlargement = self._interpolations()
        self.doublings, self._starts = nn.ModuleList(doublings), [double.start for double in doublings]
        label_blocks(self)

    def _interpolations(self) -> list[Interpolation]:
        """Build one interpolation for each skip connection, and one to the pixels of the image."""
        grids = [Grid(grid.stride, grid.centre - self.padding) for grid in self.trunk.grids[::-1][: self.skips + 1]]
        coarse, interpolations = grids[0], []
        for fine in grids[1:]:
            interpolations.append(Interpolation(self.num_classes, coarse, fine, learned=True))
            coarse = fine.moved(max(0, interpolations[-1].start))
        return [*interpolations, Interpolation(self.num_classes, coarse, Grid(), learned=False)]

    def forward(self, x: Tensor) -> Tensor:
        """Return logits: (batch, in_channels, height, width) → (batch, num_classes, height, width)."""
        require_images(x, self.trunk.in_channels, 1, self)
        height, width = x.shape[2:]
        maps = self.trunk(self._padded(x))[::-1]
        y = self.scores[0](maps[0])
        for double, score, finer, start in zip(self.doublings, self.scores[1:], maps[1:], self._starts, strict=False):
            y = _sum_on_grid(double(y), score(finer), start)
        top = -self.enlargement.start
        return self.enlargement(y)[:, :, top : top + height, top : top + width]

    def _padded(self, x: Tensor) -> Tensor:
        """Pad the image with zeros, with more below and on the right if the coarsest map would end too early."""
        pads = [(self.padding, self._padding_after(pixels)) for pixels in x.shape[2:]]
        return F.pad(x, [*pads[1], *pads[0]])

    def _padding_after(self, pixels: int) -> int:
        """Return the number of zeros after `pixels` pixels of the image along one axis."""
        coarsest = self.trunk.grids[-1]
        last = pixels - 1 + self.padding - coarsest.centre - coarsest.stride / 2
        size = 1 + max(0, math.ceil(last / coarsest.stride))
        return max(self.padding, self.trunk.pixels_for(size) - self.padding - pixels)


def _zero_score(channels: int, num_classes: int) -> nn.Conv2d:
    score = nn.Conv2d(channels, num_classes, 1)
    for parameter in score.parameters():
        nn.init.zeros_(parameter)
    return score


def _sum_on_grid(y: Tensor, finer: Tensor, start: int) -> Tensor:
    """Add y and the map `finer` where they overlap; y begins at pixel `start` of `finer`."""
    y, finer = y[:, :, max(0, -start) :, max(0, -start) :], finer[:, :, max(0, start) :, max(0, start) :]
    height, width = (min(sides) for sides in zip(y.shape[2:], finer.shape[2:], strict=True))
    return y[:, :, :height, :width] + finer[:, :, :height, :width]


@checked
def with_skip(net: FCN) -> FCN:
    """Copy `net` and add one skip, with scores initialized to zero, so that an FCN-32s becomes an FCN-16s.

    Raises:
        ValueError: if the backbone has no finer map.
    """
    finer = FCN(copy.deepcopy(net.trunk), net.num_classes, skips=net.skips + 1, padding=net.padding)
    finer.to(next(net.parameters()))  # before loading the weights, which would otherwise be rounded
    finer.load_state_dict(net.state_dict(), strict=False)
    return finer


@checked
def fcn32s(num_classes: int = 21, in_channels: int = 3, *, backbone: Classifier | Backbone | None = None) -> FCN:
    """Build FCN-32s (Long et al. 2015; VGG-16): 134,346,581 parameters; 59.4 % mean IoU on VOC 2011 val.

    Args:
        num_classes: number of classes, and of logits for each pixel.
        in_channels: number of channels of the images.
        backbone: classifier, whose weights are copied and whose last layer is left out; by default a new VGG-16. A
            `Backbone` is used without copying.

    Raises:
        ValueError: if the backbone takes images with another number of channels.
        TypeError: if the classifier is of an unknown class.
    """
    return _fcn(0, num_classes, in_channels, backbone)


@checked
def fcn16s(num_classes: int = 21, in_channels: int = 3, *, backbone: Classifier | Backbone | None = None) -> FCN:
    """Build FCN-16s: `fcn32s` with the scores of the map of stride 16 added; 62.4 % mean IoU on VOC 2011 val."""
    return _fcn(1, num_classes, in_channels, backbone)


@checked
def fcn8s(num_classes: int = 21, in_channels: int = 3, *, backbone: Classifier | Backbone | None = None) -> FCN:
    """Build FCN-8s: `fcn16s` with the scores of the map of stride 8 added; 62.7 % mean IoU on VOC 2011 val.

    The authors' later release has 65.5 %.
    """
    return _fcn(2, num_classes, in_channels, backbone)


def _fcn(skips: int, num_classes: int, in_channels: int, backbone: Classifier | Backbone | None) -> FCN:
    if backbone is None:
        backbone = backbone_of(vgg16(1, in_channels))
    elif not isinstance(backbone, Backbone):
        backbone = backbone_of(copy.deepcopy(backbone))
    if backbone.in_channels != in_channels:
        raise ValueError(
            f"in_channels = {in_channels}, but the backbone takes images of {backbone.in_channels} channels: pass "
            f"in_channels={backbone.in_channels}, or a backbone built for {in_channels}."
        )
    return FCN(backbone, num_classes, skips=skips)


class FullResolution(nn.Module):
    """Segmentation net at full resolution: stem → flow → 1×1 convolution, without downsampling.

    Args:
        num_classes: number of classes, and of logits for each pixel.
        in_channels: number of channels of the images.
        width: number of channels of the flow.
        blocks: number of residual blocks of the flow; a logit depends on pixels up to 2·blocks + 1 away.
        norm: constructor of a normalization layer, called with the number of channels.
        flow: constructor of the flow.

    Raises:
        ValueError: if a count is not a positive integer, or if images have another number of channels.
    """

    stride = 1

    @checked
    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        *,
        width: int = 32,
        blocks: int = 4,
        norm: Norm = nn.BatchNorm2d,
        flow: Flow = residual_flow,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.flow = flow(lambda: BasicBranch(width, norm=norm), blocks, None)
        self.finish = nn.Sequential(norm(width), nn.ReLU())
        self.score = nn.Conv2d(width, num_classes, 1)
        label_blocks(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits: (batch, in_channels, height, width) → (batch, num_classes, height, width)."""
        require_images(x, self.in_channels, 1, self)
        return self.score(self.finish(self.flow(self.stem(x))))


@checked
def fcn(num_classes: int = 21, in_channels: int = 3, **options: Any) -> FullResolution:
    """Build a fully convolutional net without downsampling: 4 residual blocks of 32 channels, 75,861 parameters."""
    return FullResolution(num_classes, in_channels, **options)
