"""U-Net: down by pooling, up by upsampling, and at each resolution the map of the way down beside that of the way up.

The net of Ronneberger et al. 2015 has unpadded convolutions: 572×572 pixels in, logits for the 388×388 in the middle
out. Mirroring the image beyond its borders gives a label to each pixel (their overlap-tile strategy); padding the maps
with zeros does too, at less cost, and is what most nets of this name do. Here a stage may be a flow as well.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from odenet.blocks.annotations import MayBeEmpty, WholeFromZero
from odenet.blocks.arguments import checked
from odenet.blocks.block import label_blocks
from odenet.blocks.branches import Autonomous, Norm
from odenet.layers.transpose_convolution import TransposeConvolution
from odenet.layers.upsampling import MakeUpsampling, centred
from odenet.models.images import require_images
from odenet.models.resnet import Flow

Borders: TypeAlias = Literal["padded", "mirrored", "valid"]
"""Zeros around every map; the image mirrored and convolutions unpadded; unpadded, and logits of the middle alone."""

WIDTHS = (64, 128, 256, 512, 1024)

up_convolution: MakeUpsampling = partial(TransposeConvolution, kernel=2, padding=0)
"""2×2 filters at stride 2, which do not overlap: the "up-convolution" of the paper."""


class UNet(nn.Module):
    """stage, halved, stage, …, stage, doubled, [skip, x], stage, …, stage → logits of shape (batch, classes, H, W).

    Args:
        down: stages of the way down, the last one at the bottom.
        ups: upsamplings, from the bottom upwards, one fewer.
        up: stages of the way up, likewise; each takes the map of the way down and the upsampled one.
        head: last map → logits.
        in_channels: of the images.
        borders: what the stages do there.
        shrinkage: rows that the convolutions of a stage take off its map, above and below together; 0 if padded.

    Raises:
        ValueError: images of another number of channels, or, with valid borders, of a size that pooling does not halve.
    """

    @checked
    def __init__(
        self,
        down: Sequence[nn.Module],
        ups: Annotated[Sequence[nn.Module], MayBeEmpty()],
        up: Annotated[Sequence[nn.Module], MayBeEmpty()],
        head: nn.Module,
        in_channels: int,
        borders: Borders,
        shrinkage: WholeFromZero,
    ) -> None:
        super().__init__()
        self.in_channels, self.borders = in_channels, borders
        self.sizes = ValidSizes(len(ups), shrinkage)
        self.down, self.ups, self.up = nn.ModuleList(down), nn.ModuleList(ups), nn.ModuleList(up)
        self.head = head
        label_blocks(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the pixels of images of shape (batch, in_channels, H, W); with valid borders, of those inside."""
        require_images(x, self.in_channels, 1, self)
        if self.borders == "valid":
            self._require_valid(x.shape[2:])
        if self.borders != "mirrored":
            return self._logits(x)
        height, width = x.shape[2:]
        return self._logits(mirrored(x, self.sizes))[:, :, :height, :width]

    def _logits(self, x: Tensor) -> Tensor:
        *stages, bottom = self.down
        skips = []
        for stage in stages:
            skip = stage(x)
            x, indices = F.max_pool2d(skip, 2, ceil_mode=True, return_indices=True)
            skips.append((skip, indices))
        x = bottom(x)
        for upsampling, stage, (skip, indices) in zip(self.ups, self.up, reversed(skips), strict=True):
            size = [min(2 * n, side) for n, side in zip(x.shape[2:], skip.shape[2:], strict=True)]
            x = stage(torch.cat([centred(skip, size), upsampling(x, size, indices)], dim=1))
        return self.head(x)

    def _require_valid(self, size: Sequence[int]) -> None:
        near = [self.sizes.nearest(side) for side in size]
        if any(side not in valid for side, valid in zip(size, near, strict=True)):
            height, width = (" or ".join(map(str, valid)) for valid in near)
            raise ValueError(
                f"{type(self).__name__} was given images of {size[0]}×{size[1]} pixels; unpadded, each pooling must "
                f"meet an even number of rows and something be left at the end: heights of {height} and widths of "
                f"{width} would do; cut or fill up the images, or build the net with borders='mirrored' or 'padded'."
            )


class ValidSizes(NamedTuple):
    """Sides n ↦ n - margin of a U-Net without padding: those for which every pooling meets an even number.

    >>> ValidSizes(poolings=4, shrinkage=4).margin, ValidSizes(4, 4).nearest(570)
    (184, (556, 572))
    """

    poolings: int
    """Of the way down, and as many upsamplings."""

    shrinkage: int
    """Pixels that a stage takes off a side, at both ends together: 2 for each 3×3 convolution."""

    @property
    def margin(self) -> int:
        """Pixels between the sides of image and logits, (3·2ᵖ - 2)·shrinkage for p poolings."""
        return (3 * 2**self.poolings - 2) * self.shrinkage

    def output_for(self, side: int) -> int:
        """The smallest side of logits that is at least `side`; they are all those that are `shrinkage` modulo 2ᵖ."""
        return side + (self.shrinkage - side) % 2**self.poolings

    def nearest(self, side: int) -> tuple[int, ...]:
        """The valid sides of images next to `side`, which is the only one if it is valid itself."""
        above = self.output_for(max(1, side - self.margin)) + self.margin
        below = above - 2**self.poolings
        return (above,) if above == side or below <= self.margin else (below, above)


def mirrored(x: Tensor, sizes: ValidSizes) -> Tensor:
    """`x` in the middle of its mirror images, so that the first logits of the unpadded net are those of its pixels."""
    for axis in (2, 3):
        side = x.shape[axis]
        place = torch.arange(sizes.output_for(side) + sizes.margin, device=x.device) - sizes.margin // 2
        period = max(1, 2 * (side - 1))
        place = place.remainder(period)
        x = x.index_select(axis, torch.minimum(place, period - place))
    return x


@checked
def unet(
    num_classes: int = 2,
    in_channels: int = 1,
    *,
    widths: Sequence[int] = WIDTHS,
    convolutions: int = 2,
    borders: Borders = "padded",
    norm: Norm | None = None,
    upsampling: MakeUpsampling = up_convolution,
    flow: Flow | None = None,
    branch: Callable[[int], nn.Module] | None = None,
) -> UNet:
    """The U-Net of Ronneberger et al. 2015: 31,030,658 parameters, 23 convolutions; published with `borders="valid"`.

    An ordinary stage is `convolutions` times relu ∘ norm ∘ conv₃ₓ₃. With a `flow`, the first of these convolutions
    changes the channels, and the others are steps x ← x + conv₃ₓ₃(relu(norm(x))) of an ODE block: a U-Net of flows of
    as many parameters, which `configure` steps and differentiates as it does any other net. Without a norm the variance
    of the map doubles with each convolution in a flow at the start of a training.

    >>> from odenet import FixedSteps, ODEBlock, PiecewiseConstant, RK4, configure
    >>> from odenet.models.resnet import residual_flow
    >>> net = unet(num_classes=4, in_channels=3, widths=(4, 8), flow=residual_flow)
    >>> with configure(net, stepping=FixedSteps(RK4())):
    ...     net(torch.zeros(1, 3, 7, 13)).shape
    torch.Size([1, 4, 7, 13])

    Args:
        num_classes: logits a pixel.
        in_channels: of the images.
        widths: channels of the stages, from the image to the bottom; one fewer poolings.
        convolutions: of 3×3 in each stage.
        borders: "padded" (any size, with zeros around every map), "valid" (188, 204, … pixels a side, of which 184 are
            lost with the default widths) or "mirrored" (any size; the valid net on the image and its mirror images).
        norm: makes the normalization of a number of channels, which takes the place of the biases; None in the paper.
        upsampling: makes the upsampling from the channels of a stage to those of the one above.
        flow: makes the flow of a stage from a maker of branches and the number of branches, `convolutions` - 1.
        branch: makes a branch of a number of channels, to replace the single convolution.

    Raises:
        ValueError: a count that is not a positive integer, no widths, unknown borders; unpadded flows, a flow of no
            convolution, a branch without flow, unpadded max unpooling.
    """
    _require_possible(convolutions, borders, flow, branch)
    if flow is None:
        parts = _ordinary(convolutions, int(borders == "padded"), norm)
    else:
        parts = _flowing(flow, convolutions - 1, branch, norm)
    net = UNet(
        [parts.first(in_channels, widths[0]), *(parts.stage(a, b) for a, b in pairwise(widths))],
        [upsampling(b, a) for a, b in reversed(list(pairwise(widths)))],
        [parts.stage(2 * width, width) for width in reversed(widths[:-1])],
        nn.Sequential(*parts.finish(widths[0]), nn.Conv2d(widths[0], num_classes, 1)),
        in_channels,
        borders,
        0 if borders == "padded" else 2 * convolutions,
    )
    _require_indices_to_fit(net)
    _initialize(net)
    return net


def _require_possible(convolutions: int, borders: str, flow: Flow | None, branch: Callable | None) -> None:
    if flow is not None and borders != "padded":
        raise ValueError(
            f"a U-Net of flows with borders={borders!r} was asked for; a flow keeps the shape of its state, and an "
            "unpadded convolution does not: pass borders='padded', or no flow."
        )
    if flow is not None and convolutions == 1:
        raise ValueError(
            "a U-Net of flows with convolutions=1 was asked for; the first convolution of a stage changes the channels "
            "and none is left for the flow: pass 2 or more."
        )
    if flow is None and branch is not None:
        raise ValueError(f"branch = {branch!r} without a flow; only flows have branches: pass a flow as well.")


def _require_indices_to_fit(net: UNet) -> None:
    if net.borders != "padded" and any(up.needs_indices for up in net.ups):
        raise ValueError(
            f"max unpooling in a U-Net with borders={net.borders!r} was asked for; on the way up its maps are smaller "
            "than those that were pooled, so the positions do not fit: pass borders='padded', or another upsampling."
        )


class _Parts(NamedTuple):
    """Makers of the first stage and the others, from channels to channels, and of what comes before the head."""

    first: Callable[[int, int], nn.Module]
    stage: Callable[[int, int], nn.Module]
    finish: Callable[[int], list[nn.Module]]


def _ordinary(convolutions: int, padding: int, norm: Norm | None) -> _Parts:
    """Stages of relu ∘ norm ∘ conv₃ₓ₃."""

    def stage(in_channels: int, channels: int) -> nn.Sequential:
        layers = nn.Sequential()
        for place in range(1, convolutions + 1):
            layers.add_module(f"conv{place}", _convolution(in_channels, channels, norm, padding))
            if norm is not None:
                layers.add_module(f"norm{place}", norm(channels))
            layers.add_module(f"relu{place}", nn.ReLU())
            in_channels = channels
        return layers

    return _Parts(stage, stage, lambda _channels: [])


def _flowing(flow: Flow, blocks: int, branch: Callable[[int], nn.Module] | None, norm: Norm | None) -> _Parts:
    """Stages of a transition, which sees its input normalized and rectified unless that is the image, and a flow."""
    make = branch or (lambda channels: Autonomous(_pre_activated(channels, channels, norm)))

    def stage(transition: nn.Module, channels: int) -> nn.Sequential:
        return nn.Sequential(OrderedDict(transition=transition, flow=flow(partial(make, channels), blocks, None)))

    return _Parts(
        lambda in_channels, channels: stage(_convolution(in_channels, channels, norm), channels),
        lambda in_channels, channels: stage(_pre_activated(in_channels, channels, norm), channels),
        lambda channels: [*([] if norm is None else [norm(channels)]), nn.ReLU()],
    )


def _pre_activated(in_channels: int, channels: int, norm: Norm | None) -> nn.Sequential:
    """conv₃ₓ₃ ∘ relu ∘ norm."""
    parts = OrderedDict[str, nn.Module]()
    if norm is not None:
        parts["norm"] = norm(in_channels)
    parts["relu"] = nn.ReLU()
    parts["conv"] = _convolution(in_channels, channels, norm)
    return nn.Sequential(parts)


def _convolution(in_channels: int, channels: int, norm: Norm | None, padding: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, 3, padding=padding, bias=norm is None)


def _initialize(net: UNet) -> None:
    """Normal weights of variance 2/fan-in and no biases (section 3 of the paper); upsamplings have begun already."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
