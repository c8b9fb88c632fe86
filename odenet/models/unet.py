"""U-Net: an encoder with pooling and a decoder with upsampling, joined by skip connections at each resolution.

The net of Ronneberger et al. 2015 has unpadded convolutions: it maps 572×572 pixels to logits for the 388×388 in their
middle. Mirroring the image at its borders gives logits for every pixel (their overlap-tile strategy). Zero padding of
all maps does so too, at less cost, and most later U-Nets use it. Here a stage may also be a flow.
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
from odenet.layers.upsampling import MakeUpsampling, center_crop_or_pad
from odenet.models.images import require_images
from odenet.models.resnet import Flow

Borders: TypeAlias = Literal["padded", "mirrored", "valid"]
"""Treatment of the borders: zero padding of all maps, mirroring of the image without padding, or no padding.

"padded" and "mirrored" give logits for every pixel, "valid" only for the pixels in the middle.
"""

WIDTHS = (64, 128, 256, 512, 1024)
"""Numbers of channels of the stages in the paper, from the image to the bottom."""

up_convolution: MakeUpsampling = partial(TransposeConvolution, kernel=2, padding=0)
"""Transpose convolution with 2×2 filters and stride 2, which do not overlap: the paper's "up-convolution"."""


class UNet(nn.Module):
    """U-Net: encoder stages and poolings → decoder stages on [skip, upsampled map] → logits (batch, classes, H, W).

    Args:
        down: stages of the encoder; the last is the bottom, after all poolings.
        ups: upsamplings from the bottom to the image, one fewer than `down`.
        up: stages of the decoder, as many as `ups`; each takes the skip map and the upsampled map, concatenated.
        head: module that maps the last map to logits.
        in_channels: number of channels of the images.
        borders: treatment of the borders by the stages.
        shrinkage: number of rows by which the convolutions of a stage shrink its map; 0 if padded.

    Raises:
        ValueError: if images have another number of channels, or, with valid borders, a size that the poolings cannot
            halve.
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
        """Return logits of the pixels of images (batch, in_channels, H, W); if borders are valid, of the inner ones."""
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
            x = stage(torch.cat([center_crop_or_pad(skip, size), upsampling(x, size, indices)], dim=1))
        return self.head(x)

    def _require_valid(self, size: Sequence[int]) -> None:
        nearest = [self.sizes.nearest(side) for side in size]
        if any(side not in valid for side, valid in zip(size, nearest, strict=True)):
            height, width = (" or ".join(map(str, valid)) for valid in nearest)
            raise ValueError(
                f"{type(self).__name__} was given images of {size[0]}×{size[1]} pixels; without padding, each "
                f"pooling needs an even number of rows and columns, and the last map at least one: crop or pad the "
                f"images to heights of {height} and widths of {width}, or build the net with borders='mirrored' or "
                "'padded'."
            )


class ValidSizes(NamedTuple):
    """Sides n ↦ n - margin of images and logits of a U-Net without padding, for which every pooling has an even side.

    >>> ValidSizes(poolings=4, shrinkage=4).margin, ValidSizes(4, 4).nearest(570)
    (184, (556, 572))
    """

    poolings: int
    """Number of poolings, and of upsamplings."""

    shrinkage: int
    """Number of pixels by which a stage shrinks a side, at both ends together: 2 for each 3×3 convolution."""

    @property
    def margin(self) -> int:
        """Difference of the sides of image and logits, in pixels: (3·2ᵖ - 2)·shrinkage for p poolings."""
        return (3 * 2**self.poolings - 2) * self.shrinkage

    def output_for(self, side: int) -> int:
        """Return the smallest possible side of logits ≥ `side`; all possible ones are `shrinkage` modulo 2ᵖ."""
        return side + (self.shrinkage - side) % 2**self.poolings

    def nearest(self, side: int) -> tuple[int, ...]:
        """Return the valid sides of images next below and above `side`, or only `side` if it is valid."""
        above = self.output_for(max(1, side - self.margin)) + self.margin
        below = above - 2**self.poolings
        return (above,) if above == side or below <= self.margin else (below, above)


def mirrored(x: Tensor, sizes: ValidSizes) -> Tensor:
    """Extend `x` by its mirror images, so that the first logits of the unpadded net are those of the pixels of `x`."""
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
    """Build the U-Net of Ronneberger et al. 2015: 31,030,658 parameters, 23 convolutions.

    The published net has `borders="valid"`. A stage without `flow` applies relu ∘ norm ∘ conv₃ₓ₃ `convolutions` times.
    With a `flow`, the first convolution changes the channels, and the others are steps x ← x + conv₃ₓ₃(relu(norm(x)))
    of an ODE block. This net has as many parameters, and `configure` changes its stepping and gradient method as in any
    other net. At initialization, without a norm, each convolution in a flow doubles the variance of the map.

    >>> from odenet import FixedSteps, ODEBlock, PiecewiseConstant, RK4, configure
    >>> from odenet.models.resnet import residual_flow
    >>> net = unet(num_classes=4, in_channels=3, widths=(4, 8), flow=residual_flow)
    >>> with configure(net, stepping=FixedSteps(RK4())):
    ...     net(torch.zeros(1, 3, 7, 13)).shape
    torch.Size([1, 4, 7, 13])

    Args:
        num_classes: number of classes, and of logits for each pixel.
        in_channels: number of channels of the images.
        widths: numbers of channels of the stages, from the image to the bottom; there is one pooling fewer.
        convolutions: number of 3×3 convolutions in each stage.
        borders: "padded" (images of any size, zero padding), "valid" (sides of 188, 204, … pixels, of which 184 have no
            logits with the default widths) or "mirrored" (any size; the valid net on the image extended by mirroring).
        norm: constructor of a normalization layer, called with the number of channels; None, as in the paper, for
            biases instead.
        upsampling: constructor of an upsampling, called with the numbers of channels of a stage and of the one above.
        flow: constructor of the flow of a stage, called with a constructor of branches, their number (`convolutions` -
            1) and the projection None; None for a net without flows.
        branch: constructor of a branch, called with the number of channels; by default a branch is a single
            convolution.

    Raises:
        ValueError: if a count is not a positive integer, if there are no widths, if `borders` is unknown, if flows or
            max unpooling are not padded, if no convolution is left for a flow, or if a branch is given without a flow.
    """
    _require_possible(convolutions, borders, flow, branch)
    if flow is None:
        parts = _convolutional_parts(convolutions, int(borders == "padded"), norm)
    else:
        parts = _flow_parts(flow, convolutions - 1, branch, norm)
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
            "a U-Net of flows with convolutions=1 was asked for; the first convolution of a stage changes the "
            "channels, so none is left for the flow: pass 2 or more."
        )
    if flow is None and branch is not None:
        raise ValueError(f"branch = {branch!r} without a flow; only flows have branches: pass a flow as well.")


def _require_indices_to_fit(net: UNet) -> None:
    if net.borders != "padded" and any(up.needs_indices for up in net.ups):
        raise ValueError(
            f"max unpooling in a U-Net with borders={net.borders!r} was asked for; its upsampled maps are smaller "
            "than the maps that were pooled, so the indices do not fit: pass borders='padded', or another upsampling."
        )


class _Parts(NamedTuple):
    """Constructors of the first stage, of the other stages, and of the layers before the head."""

    first: Callable[[int, int], nn.Module]
    stage: Callable[[int, int], nn.Module]
    finish: Callable[[int], list[nn.Module]]


def _convolutional_parts(convolutions: int, padding: int, norm: Norm | None) -> _Parts:
    """Return constructors of stages of relu ∘ norm ∘ conv₃ₓ₃."""

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


def _flow_parts(flow: Flow, blocks: int, branch: Callable[[int], nn.Module] | None, norm: Norm | None) -> _Parts:
    """Return constructors of stages of a transition and a flow.

    A transition normalizes and rectifies its input, except for the image.
    """
    make = branch or (lambda channels: Autonomous(_pre_activated(channels, channels, norm)))

    def stage(transition: nn.Module, channels: int) -> nn.Sequential:
        return nn.Sequential(OrderedDict(transition=transition, flow=flow(partial(make, channels), blocks, None)))

    return _Parts(
        lambda in_channels, channels: stage(_convolution(in_channels, channels, norm), channels),
        lambda in_channels, channels: stage(_pre_activated(in_channels, channels, norm), channels),
        lambda channels: [*([] if norm is None else [norm(channels)]), nn.ReLU()],
    )


def _pre_activated(in_channels: int, channels: int, norm: Norm | None) -> nn.Sequential:
    """Build conv₃ₓ₃ ∘ relu ∘ norm."""
    parts = OrderedDict[str, nn.Module]()
    if norm is not None:
        parts["norm"] = norm(in_channels)
    parts["relu"] = nn.ReLU()
    parts["conv"] = _convolution(in_channels, channels, norm)
    return nn.Sequential(parts)


def _convolution(in_channels: int, channels: int, norm: Norm | None, padding: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, 3, padding=padding, bias=norm is None)


def _initialize(net: UNet) -> None:
    """Draw normal weights of variance 2/fan-in and zero the biases of convolutions (section 3 of the paper).

    Upsamplings initialize themselves.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
