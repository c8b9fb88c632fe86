"""Residual networks as flows and transitions (He et al. 2015; pre-activation: He et al. 2016b).

A stage of n residual blocks at one resolution is a flow: piecewise-constant θ on n pieces, one Euler step each, h = 1.
A block that changes resolution or width is a transition, y = S(x) + F(x). The published nets are post-activation: the
ReLU after the addition is the flow's projection, `Nonnegative()`, so error control can solve the limit of small steps.
There are two families, one for small images (section 4.2 of the paper: 6n+2 layers, 16-32-64 channels, shortcuts
without parameters) and one for ImageNet (table 1).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.nn import functional as F

from odenet.blocks.arguments import checked
from odenet.blocks.block import ODEBlock, label_blocks
from odenet.blocks.branches import Activation, BasicBranch, BottleneckBranch, Norm
from odenet.blocks.projections import Nonnegative
from odenet.blocks.stepping.base import Projection
from odenet.blocks.stochastic_depth import StochasticDepth
from odenet.blocks.theta.base import Piece, PiecewiseConstant
from odenet.models.images import require_images

Branch: TypeAlias = Callable[..., nn.Module]
"""Constructor of a branch, called as `branch(channels, in_channels=…, stride=…)`."""

Flow: TypeAlias = Callable[[Callable[[], nn.Module], int, Projection | None], nn.Module]
"""Constructor of the flow of a stage, called with a constructor of branches, the number of blocks and a projection."""


def residual_flow(
    make_branch: Callable[[], nn.Module], blocks: int, projection: Projection | None, horizon: float | None = None
) -> ODEBlock:
    """Build a stage of `blocks` residual blocks, Euler steps of h = T/`blocks`, by default 1; T is the `horizon`."""
    return ODEBlock(PiecewiseConstant([make_branch() for _ in range(blocks)], horizon), projection=projection)


class Transition(nn.Module):
    """y = P(S(x) + F(x)): a residual block that changes the resolution or the number of channels.

    Args:
        branch: F, a module with `forward(t, x)`, evaluated at t = 0.
        shortcut: S, a module whose output has the shape of F(x); None for no shortcut (plain nets).
        projection: P; None for none.
    """

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None, projection: Projection | None) -> None:
        super().__init__()
        self.branch, self.shortcut, self.projection = branch, shortcut, projection
        self.noise: StochasticDepth | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map x of shape (batch, channels, height, width) to y, which has the transition's channels and stride."""
        y = self.branch(0.0, x) if self.shortcut is None else self._residual(self.shortcut(x), x)
        return y if self.projection is None else self.projection(y)

    def _residual(self, through: Tensor, x: Tensor) -> Tensor:
        """Return S(x) + F(x), where stochastic depth scales F or leaves it out."""
        if self.noise is None:
            return through + self.branch(0.0, x)
        (piece,) = self.noise([Piece(0.0, 1.0, self.branch, (self.branch,))], x, training=self.training)
        return through + piece.field(0.0, x) if piece.nodes else through


class PaddedShortcut(nn.Module):
    """S(x): every `stride`-th pixel, zeros in the additional channels; no parameters (He et al. 2015, option A)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride, self.additional = stride, channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """Return S(x): (batch, in_channels, h, w) → (batch, channels, ⌈h/stride⌉, ⌈w/stride⌉)."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.additional))


def projected_shortcut(in_channels: int, channels: int, stride: int, norm: Norm = nn.BatchNorm2d) -> nn.Module:
    """Build S(x) = norm(conv₁ₓ₁(x)), where the convolution has the stride (He et al. 2015, option B)."""
    conv = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=norm(channels)))


class ResNet(nn.Module):
    """Residual network: stem → transition and flow of each stage → mean over pixels → logits (batch, num_classes).

    Args:
        stem: module that maps images to the features of the first stage.
        stages: modules of the stages in order, each a transition, a flow, or both.
        features: number of channels after the last stage.
        num_classes: number of logits.
        in_channels: number of channels of the images.
        stride: product of all strides, so that the last map has 1/stride of the pixels of the image on a side.
        finish: module applied before pooling, such as the norm and ReLU at the end of a pre-activation net.

    Raises:
        ValueError: if images have another number of channels, or are so small that a stride meets a single pixel.
    """

    @checked
    def __init__(
        self,
        stem: nn.Module,
        stages: Iterable[nn.Module],
        features: int,
        num_classes: int,
        in_channels: int,
        stride: int,
        finish: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.smallest = in_channels, stride // 2 + 1
        self.stem = stem
        self.stages = nn.Sequential(*stages)
        self.finish = nn.Identity() if finish is None else finish
        self.head = nn.Linear(features, num_classes)
        _initialize(self)
        label_blocks(self)

    def features(self, x: Tensor) -> Tensor:
        """Return the last feature map, of shape (batch, features, height/stride, width/stride)."""
        require_images(x, self.in_channels, self.smallest, self)
        return self.stages(self.stem(x))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of shape (batch, num_classes) for images of shape (batch, in_channels, height, width)."""
        x = self.finish(self.features(x))
        return self.head(x.mean(dim=(2, 3)))


@checked
def cifar_resnet(
    blocks: int,
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    widths: Sequence[int] = (16, 32, 64),
    stem_stride: int = 1,
    activation: Activation = "post",
    norm: Norm = nn.BatchNorm2d,
    branch: Branch = BasicBranch,
    shortcut: Callable[[int, int, int], nn.Module] | None = PaddedShortcut,
    flow: Flow = residual_flow,
) -> ResNet:
    """Build a ResNet for small images: 3×3 stem, three stages of `blocks` residual blocks, 6·blocks + 2 layers.

    The first block of the second and later stages is a transition of stride 2, so that their flows have `blocks` - 1
    pieces.

    Args:
        blocks: number of residual blocks in a stage, n in the paper; 3 for ResNet-20.
        num_classes: number of logits.
        in_channels: number of channels of the images.
        widths: numbers of channels of the stages.
        stem_stride: stride of the first convolution; 2 makes a net of a quarter of the cost.
        activation: "post", as in the published nets, or "pre".
        norm: constructor of a normalization layer, called with the number of channels.
        branch: constructor of the branches.
        shortcut: constructor of the shortcut of a transition, called with (in_channels, channels, stride); None for
            none.
        flow: constructor of the flow of a stage.
    """
    stem = _stem(in_channels, widths[0], 3, stem_stride, norm, activation)
    make = partial(branch, activation=activation, norm=norm)
    stages = _stages(widths, [blocks] * len(widths), widths[0], make, shortcut, flow, activation)
    finish = _finish(widths[-1], norm, activation)
    return ResNet(stem, stages, widths[-1], num_classes, in_channels, stem_stride * 2 ** (len(widths) - 1), finish)


@checked
def imagenet_resnet(
    blocks: Sequence[int],
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    expansion: int = 1,
    activation: Activation = "post",
    norm: Norm = nn.BatchNorm2d,
    branch: Branch = BasicBranch,
    shortcut: Callable[[int, int, int], nn.Module] | None = projected_shortcut,
    flow: Flow = residual_flow,
) -> ResNet:
    """Build a ResNet for ImageNet: 7×7 stem, 3×3 pooling, stages of 64, 128, 256, 512 times `expansion` channels.

    Args:
        blocks: number of residual blocks in each stage, transitions included.
        num_classes: number of logits.
        in_channels: number of channels of the images.
        expansion: output channels of a block per channel inside it: 1 for basic branches, 4 for bottlenecks.
        activation: "post", as in the published nets, or "pre".
        norm: constructor of a normalization layer, called with the number of channels.
        branch: constructor of the branches.
        shortcut: constructor of the shortcut of a transition, called with (in_channels, channels, stride); None for
            none.
        flow: constructor of the flow of a stage.
    """
    widths = [expansion * 64 * 2**i for i in range(len(blocks))]
    stem = nn.Sequential(_stem(in_channels, 64, 7, 2, norm, "post"), nn.MaxPool2d(3, 2, padding=1))
    make = partial(branch, activation=activation, norm=norm)
    stages = _stages(widths, blocks, 64, make, shortcut, flow, activation)
    finish = _finish(widths[-1], norm, activation)
    return ResNet(stem, stages, widths[-1], num_classes, in_channels, 4 * 2 ** (len(blocks) - 1), finish)


def _stages(
    widths: Sequence[int],
    blocks: Sequence[int],
    in_channels: int,
    branch: Branch,
    shortcut: Callable[[int, int, int], nn.Module] | None,
    flow: Flow,
    activation: Activation,
) -> Iterable[nn.Module]:
    """Yield the transition and flow of each stage; a stage that keeps the shape has no transition."""
    projection = Nonnegative() if activation == "post" else None
    for index, (channels, number) in enumerate(zip(widths, blocks, strict=True)):
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        stride = 1 if index == 0 else 2
        if in_channels != channels or stride != 1:
            through = None if shortcut is None else shortcut(in_channels, channels, stride)
            parts["transition"] = Transition(
                branch(channels, in_channels=in_channels, stride=stride), through, projection
            )
        remaining = number - len(parts)
        if remaining > 0:
            parts["flow"] = flow(partial(branch, channels), remaining, projection)
        in_channels = channels
        yield nn.Sequential(parts)


def _stem(in_channels: int, channels: int, size: int, stride: int, norm: Norm, activation: Activation) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, channels, size, stride, padding=size // 2, bias=False)
    if activation == "pre":  # because the first branch begins with its own norm
        return nn.Sequential(OrderedDict(conv=conv))
    return nn.Sequential(OrderedDict(conv=conv, norm=norm(channels), relu=nn.ReLU()))


def _finish(channels: int, norm: Norm, activation: Activation) -> nn.Module | None:
    return nn.Sequential(OrderedDict(norm=norm(channels), relu=nn.ReLU())) if activation == "pre" else None


def _initialize(model: nn.Module) -> None:
    """Draw normal weights of variance 2/fan-out for the convolutions (He et al. 2015b), as torchvision does."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


@checked
def resnet20(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    """Build ResNet-20 (He et al. 2015): 269,722 parameters, 40.6 M multiply-adds at 32×32; 8.75 % error on CIFAR-10."""
    return cifar_resnet(3, num_classes, in_channels, **options)


@checked
def resnet32(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    """Build ResNet-32 (He et al. 2015, n = 5): 464,154 parameters; 7.51 % error on CIFAR-10."""
    return cifar_resnet(5, num_classes, in_channels, **options)


@checked
def resnet44(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    """Build ResNet-44 (He et al. 2015, n = 7): 658,586 parameters; 7.17 % error on CIFAR-10."""
    return cifar_resnet(7, num_classes, in_channels, **options)


@checked
def resnet56(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    """Build ResNet-56 (He et al. 2015, n = 9): 853,018 parameters; 6.97 % error on CIFAR-10."""
    return cifar_resnet(9, num_classes, in_channels, **options)


@checked
def resnet110(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    """Build ResNet-110 (He et al. 2015, n = 18): 1,727,962 parameters; 6.43 % error on CIFAR-10."""
    return cifar_resnet(18, num_classes, in_channels, **options)


@checked
def resnet1202(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    """Build ResNet-1202 (He et al. 2015, n = 200): 19,421,274 parameters; 7.93 % error on CIFAR-10."""
    return cifar_resnet(200, num_classes, in_channels, **options)


@checked
def resnet18(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """Build ResNet-18 (He et al. 2015, table 1): 11,689,512 parameters, 1.8 G multiply-adds at 224×224."""
    return imagenet_resnet([2, 2, 2, 2], num_classes, in_channels, **options)


@checked
def resnet34(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """Build ResNet-34 (He et al. 2015, table 1): 21,797,672 parameters, 3.6 G multiply-adds at 224×224."""
    return imagenet_resnet([3, 4, 6, 3], num_classes, in_channels, **options)


@checked
def resnet50(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """Build ResNet-50 (He et al. 2015, table 1; stride in the 3×3): 25,557,032 parameters, 4.1 G multiply-adds."""
    return _bottleneck_resnet([3, 4, 6, 3], num_classes, in_channels, **options)


@checked
def resnet101(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """Build ResNet-101 (He et al. 2015, table 1; stride in the 3×3): 44,549,160 parameters, 7.8 G multiply-adds."""
    return _bottleneck_resnet([3, 4, 23, 3], num_classes, in_channels, **options)


@checked
def resnet152(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """Build ResNet-152 (He et al. 2015, table 1; stride in the 3×3): 60,192,808 parameters, 11.5 G multiply-adds."""
    return _bottleneck_resnet([3, 8, 36, 3], num_classes, in_channels, **options)


def _bottleneck_resnet(blocks: Sequence[int], num_classes: int, in_channels: int, **options: Any) -> ResNet:
    return imagenet_resnet(blocks, num_classes, in_channels, expansion=4, branch=BottleneckBranch, **options)
