"""Fully convolutional networks: a label for every pixel by convolutions alone (Long, Shelhamer and Darrell 2015).

- `fcn`: at full resolution throughout, a single flow;
- `fcn32s`: a classifier as a convolution of stride 32, its map of scores interpolated;
- `fcn16s`, `fcn8s`: with scores of the maps of stride 16 and 8 added on the way up.

Each takes images of any size and gives logits of that size.
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
from odenet.models.fcn_trunks import Classifier, Trunk, trunk_of
from odenet.models.images import require_images
from odenet.models.resnet import Flow, residual_flow
from odenet.models.vgg import vgg16


class Interpolation(nn.Module):
    """y(p) = Σᵢ x[i]·(1 - |p - pᵢ|/s)₊ along each axis: bilinear interpolation from a grid to a finer one.

    Written as a transpose convolution. Its filters have 2s taps where the centres of the coarse pixels lie between fine
    ones (Long et al. 2015), 2s - 1 where they lie on fine ones: so the answer is where it belongs, for every padding
    and pooling. Beyond its outermost centres the coarse map is continued by its outermost pixels, one stride far.

    Args:
        channels: of the map.
        coarse: its grid.
        fine: that of the result, but for where it begins.
        learned: whether the filters only begin so, and may mix channels; else they cost no parameters.

    Attributes:
        start: number of the first pixel of y on the fine grid; mostly negative.

    Raises:
        ValueError: grids whose pixels lie neither on nor half-way between each other's.
    """

    def __init__(self, channels: int, coarse: Grid, fine: Grid, *, learned: bool) -> None:
        super().__init__()
        factor, rest = divmod(coarse.stride, fine.stride)
        place = (coarse.centre - fine.centre) / fine.stride
        if rest or 2 * place % 1:
            raise ValueError(
                f"{coarse} cannot be interpolated on {fine}: its pixels must lie on those of the finer grid or half-way"
                " between them, a whole number of them apart; choose other strides or paddings in the trunk."
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
        """(batch, channels, h, w) → (batch, channels, s·(h + 1), s·(w + 1)), a pixel more if the taps are odd."""
        x = F.pad(x, (1, 1, 1, 1), mode="replicate")
        return F.conv_transpose2d(x, self.filters, stride=self.factor, padding=self.taps // 2, groups=self.groups)

    def extra_repr(self) -> str:
        """The settings, for `print(model)`."""
        return f"factor={self.factor}, taps={self.taps}, start={self.start}, groups={self.groups}"


def _triangle(taps: int, factor: int) -> Tensor:
    axis = 1 - (torch.arange(taps) - (taps - 1) / 2).abs() / factor
    return torch.outer(axis, axis)


class FCN(nn.Module):
    """image → maps of the trunk → a score of every class on the last of them → doubled, added, …, image size.

    With maps mᵢ, from the coarsest on, 1×1 convolutions Sᵢ, learned interpolation Uᵢ and a fixed one V:

        y₀ = S₀ m₀        yᵢ = Uᵢ yᵢ₋₁ + Sᵢ mᵢ for each skip        logits = V y

    All S begin at zero: a net that is given one more skip (`with_skip`) begins with the answers it gave.

    Args:
        trunk: image → maps.
        num_classes: number of logits of a pixel.
        skips: how many finer maps are added.
        padding: zeros around the image, in pixels; by default so many that the outermost pixels of the coarsest map lie
            within half a stride of the border. The published nets have 100, which counts the padding of the first
            convolution.

    Raises:
        ValueError: a count that is none, or more skips than maps; images of another number of channels.
    """

    @checked
    def __init__(
        self, trunk: Trunk, num_classes: int, *, skips: Whole = 0, padding: WholeFromZero | None = None
    ) -> None:
        super().__init__()
        if not 0 <= skips < len(trunk.grids):
            raise ValueError(
                f"skips = {skips}; this trunk has {len(trunk.grids)} maps, and each but the coarsest can be added "
                f"once: pass 0 to {len(trunk.grids) - 1}, or a trunk of more stages."
            )
        self.trunk, self.num_classes, self.skips = trunk, num_classes, skips
        coarsest = trunk.grids[-1]
        self.stride = coarsest.stride
        self.padding = max(0, math.ceil(coarsest.centre - coarsest.stride / 2)) if padding is None else padding
        self.scores = nn.ModuleList(_silent_score(n, num_classes) for n in trunk.channels[::-1][: skips + 1])
        *doublings, self.enlargement = self._interpolations()
        self.doublings, self._starts = nn.ModuleList(doublings), [double.start for double in doublings]
        label_blocks(self)

    def _interpolations(self) -> list[Interpolation]:
        """One for each skip, and the last to the pixels of the image."""
        grids = [Grid(grid.stride, grid.centre - self.padding) for grid in self.trunk.grids[::-1][: self.skips + 1]]
        coarse, made = grids[0], []
        for fine in grids[1:]:
            made.append(Interpolation(self.num_classes, coarse, fine, learned=True))
            coarse = fine.moved(max(0, made[-1].start))
        return [*made, Interpolation(self.num_classes, coarse, Grid(), learned=False)]

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, height, width) → logits (batch, num_classes, height, width)."""
        require_images(x, self.trunk.in_channels, 1, self)
        height, width = x.shape[2:]
        maps = self.trunk(self._padded(x))[::-1]
        y = self.scores[0](maps[0])
        for double, score, finer, start in zip(self.doublings, self.scores[1:], maps[1:], self._starts, strict=False):
            y = _sum_on_grid(double(y), score(finer), start)
        top = -self.enlargement.start
        return self.enlargement(y)[:, :, top : top + height, top : top + width]

    def _padded(self, x: Tensor) -> Tensor:
        """Zeros around the image, and more below and on the right if the coarsest map would end too early."""
        pads = [(self.padding, self._beyond(pixels)) for pixels in x.shape[2:]]
        return F.pad(x, [*pads[1], *pads[0]])

    def _beyond(self, pixels: int) -> int:
        coarsest = self.trunk.grids[-1]
        last = pixels - 1 + self.padding - coarsest.centre - coarsest.stride / 2
        size = 1 + max(0, math.ceil(last / coarsest.stride))
        return max(self.padding, self.trunk.pixels_for(size) - self.padding - pixels)


def _silent_score(channels: int, num_classes: int) -> nn.Conv2d:
    score = nn.Conv2d(channels, num_classes, 1)
    for parameter in score.parameters():
        nn.init.zeros_(parameter)
    return score


def _sum_on_grid(y: Tensor, finer: Tensor, start: int) -> Tensor:
    """The sum where both are, y beginning at pixel `start` of the finer map."""
    y, finer = y[:, :, max(0, -start) :, max(0, -start) :], finer[:, :, max(0, start) :, max(0, start) :]
    height, width = (min(sides) for sides in zip(y.shape[2:], finer.shape[2:], strict=True))
    return y[:, :, :height, :width] + finer[:, :, :height, :width]


@checked
def with_skip(net: FCN) -> FCN:
    """A new net with one more skip, whose score begins at zero: FCN-16s that begins as the FCN-32s given, and so on.

    Raises:
        ValueError: the trunk has no finer map.
    """
    finer = FCN(copy.deepcopy(net.trunk), net.num_classes, skips=net.skips + 1, padding=net.padding)
    finer.to(next(net.parameters()))  # before the weights come, which else would be rounded
    finer.load_state_dict(net.state_dict(), strict=False)
    return finer


@checked
def fcn32s(num_classes: int = 21, in_channels: int = 3, *, trunk: Classifier | Trunk | None = None) -> FCN:
    """Long et al. 2015 on VGG-16: 134,346,581 parameters; 59.4 % mean IoU on VOC 2011 val.

    Args:
        num_classes: number of logits of a pixel.
        in_channels: of the images.
        trunk: a classifier, whose weights are copied and whose last layer is left out; by default a new VGG-16. A
            `Trunk` is used as it is.

    Raises:
        ValueError: a trunk for images of other channels.
        TypeError: a classifier of another kind.
    """
    return _fcn(0, num_classes, in_channels, trunk)


@checked
def fcn16s(num_classes: int = 21, in_channels: int = 3, *, trunk: Classifier | Trunk | None = None) -> FCN:
    """`fcn32s` with the scores of the map of stride 16: 62.4 %."""
    return _fcn(1, num_classes, in_channels, trunk)


@checked
def fcn8s(num_classes: int = 21, in_channels: int = 3, *, trunk: Classifier | Trunk | None = None) -> FCN:
    """`fcn16s` with the scores of the map of stride 8 too: 62.7 %; 65.5 % in the authors' later release."""
    return _fcn(2, num_classes, in_channels, trunk)


def _fcn(skips: int, num_classes: int, in_channels: int, trunk: Classifier | Trunk | None) -> FCN:
    if trunk is None:
        trunk = trunk_of(vgg16(1, in_channels))
    elif not isinstance(trunk, Trunk):
        trunk = trunk_of(copy.deepcopy(trunk))
    if trunk.in_channels != in_channels:
        raise ValueError(
            f"in_channels = {in_channels}, but the trunk takes images of {trunk.in_channels} channels: pass "
            f"in_channels={trunk.in_channels}, or a trunk built for {in_channels}."
        )
    return FCN(trunk, num_classes, skips=skips)


class FullResolution(nn.Module):
    """stem → flow → 1×1 convolution, all at the size of the image: nothing is lost, and nothing is cheap.

    Args:
        num_classes: number of logits of a pixel.
        in_channels: of the images.
        width: channels of the flow.
        blocks: residual blocks of the flow; a pixel sees 2·blocks + 1 pixels each way.
        norm: makes the normalization of a number of channels.
        flow: makes the flow.

    Raises:
        ValueError: a count that is not a positive integer; images of another number of channels.
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
        """(batch, in_channels, height, width) → logits (batch, num_classes, height, width)."""
        require_images(x, self.in_channels, 1, self)
        return self.score(self.finish(self.flow(self.stem(x))))


@checked
def fcn(num_classes: int = 21, in_channels: int = 3, **options: Any) -> FullResolution:
    """Fully convolutional without downsampling: 4 residual blocks of 32 channels, 75,861 parameters."""
    return FullResolution(num_classes, in_channels, **options)
