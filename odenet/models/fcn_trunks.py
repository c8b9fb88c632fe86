"""Backbones of fully convolutional networks: classifiers without their last layer, which return feature maps.

A linear layer on a k×k map equals a convolution with k×k filters and no padding. With its linear layers written so, a
classifier takes images of any size, and each pixel of its output is the classifier's output for the patch around that
pixel (Long et al. 2015, section 3.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, TypeAlias

from torch import Tensor, nn

from odenet.blocks.annotations import Inside, MayBeEmpty
from odenet.blocks.arguments import checked
from odenet.blocks.branches import Norm
from odenet.layers.grid import Grid
from odenet.layers.inception import Parallel, convolution
from odenet.models.alexnet import AlexNet
from odenet.models.alexnet_towers import TwoTowerAlexNet
from odenet.models.googlenet import GoogLeNet
from odenet.models.resnet import ResNet
from odenet.models.vgg import VGG

Classifier: TypeAlias = VGG | AlexNet | TwoTowerAlexNet | GoogLeNet | ResNet
"""Classifiers that can be converted to a backbone."""

MAPS = 3
"""Default number of maps of a backbone made from a classifier: strides 8, 16 and 32 in the published nets."""


class Backbone(nn.Module):
    """Chain of stages that returns the map after each: image → stage → map₁ → stage → map₂ → …, ever coarser.

    Args:
        stages: modules in order.
        channels: numbers of channels of the map after each stage.
        grids: positions in the image of the pixels of each map.
        in_channels: number of channels of the image.

    Raises:
        ValueError: if the numbers of stages, channels and grids differ, or are zero.
    """

    @checked
    def __init__(
        self,
        stages: Annotated[Iterable[nn.Module], MayBeEmpty()],
        channels: Annotated[Sequence[int], MayBeEmpty()],
        grids: Annotated[Sequence[Grid], MayBeEmpty()],
        in_channels: int,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels, self.grids, self.in_channels = tuple(channels), tuple(grids), in_channels
        if not len(self.stages) == len(self.channels) == len(self.grids) > 0:
            raise ValueError(
                f"a backbone was given {len(self.stages)} stages, channels of {len(self.channels)} maps and "
                f"{len(self.grids)} grids; the map after each stage has both: name as many of each, at least one."
            )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute the maps: (batch, in_channels, height, width) → (batch, channels[i], ·, ·) after each stage i."""
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    @checked
    def pixels_for(self, size: int) -> int:
        """Return the number of pixels of the image, along one axis, for which the coarsest map has `size` pixels."""
        grid = self.grids[-1]
        return int(grid.stride * (size - 1) + 2 * grid.centre) + 1


@checked
def backbone_of(classifier: Annotated[Classifier, Inside()], maps: int = MAPS) -> Backbone:
    """Convert a classifier to a backbone, without its last layer and with its linear layers as convolutions.

    The modules and weights are shared with the classifier. The maps are those before the last halvings, and the
    input of the last layer. Where a GoogLeNet averages over its last map, its backbone averages over windows of 7×7
    pixels, the size of that map for images of 224×224. The backbone of a ResNet does not average, because the average
    of a linear layer's outputs is its output for the average.

    Args:
        classifier: classifier to convert.
        maps: number of maps, counted from the coarsest; 4 for detectors that look at small objects, if there are as
            many stages.

    Raises:
        TypeError: if the network is of another class.
        ValueError: if the classifier has fewer stages than `maps`, and `maps` is not the default.
    """
    if isinstance(classifier, GoogLeNet):
        return _joined(_backbone_of_googlenet(classifier), maps)
    if isinstance(classifier, ResNet):
        return _joined(_backbone_of_resnet(classifier), maps, flat=False)
    if isinstance(classifier, VGG | AlexNet | TwoTowerAlexNet):
        *stages, last = _halvings(classifier.features)
        return _joined(
            _chain([*stages, nn.Sequential(*last, *_hidden_layers(classifier))], classifier.in_channels), maps
        )
    raise TypeError(
        f"a {type(classifier).__name__} cannot be made a backbone; only VGG, AlexNet, GoogLeNet and ResNet are known: "
        "pass one of these, or a Backbone of your own stages, channels and grids."
    )


def last_layer(classifier: Classifier) -> nn.Conv2d:
    """Return the last linear layer, features → logits, as a 1×1 convolution with the same weights.

    >>> import torch
    >>> with torch.device("meta"):
    ...     net = VGG([(4,)], num_classes=10)  # takes patches of 14×14 pixels
    ...     nn.Sequential(*backbone_of(net).stages, last_layer(net))(torch.empty(1, 3, 14, 16)).shape
    torch.Size([1, 10, 1, 2])
    """
    head = classifier.head if isinstance(classifier, GoogLeNet | ResNet) else classifier.classifier[-1]
    assert isinstance(head, nn.Linear)
    return as_convolution(head, 1)


def as_convolution(linear: nn.Linear, side: int) -> nn.Conv2d:
    """Convert a linear layer on a flattened `side`×`side` map to a convolution with filters of that size."""
    channels = linear.in_features // side**2
    filters = nn.Conv2d(channels, linear.out_features, side, bias=linear.bias is not None, device="meta")
    filters.weight = nn.Parameter(linear.weight.detach().view(linear.out_features, channels, side, side))
    if linear.bias is not None:
        filters.bias = nn.Parameter(linear.bias.detach())
    return filters


@checked
def plain_backbone(
    widths: Sequence[Sequence[int]], in_channels: int = 3, *, norm: Norm | None = nn.BatchNorm2d, maps: int = MAPS
) -> Backbone:
    """Build a VGG without linear layers: each stage has 3×3 convolutions to the `widths` given, and 2×2 pooling.

    Args:
        widths: numbers of channels, one sequence for each stage with one number for each convolution.
        in_channels: number of channels of the images.
        norm: constructor of a normalization layer, called with the number of channels; None for biases instead.
        maps: number of maps, counted from the coarsest.

    Raises:
        ValueError: if a count is not a positive integer, a stage has no convolutions, or there are fewer stages than
            `maps`, and `maps` is not the default.
    """
    stages, before = [], in_channels
    for stage in widths:
        if not stage:
            raise ValueError(f"widths = {widths!r}; a stage has at least one convolution: name its channels.")
        parts: list[nn.Module] = []
        for channels in stage:
            parts.append(convolution(before, channels, 3, norm=norm))
            before = channels
        stages.append(nn.Sequential(*parts, nn.MaxPool2d(2)))
    return _joined(_chain(stages, in_channels), maps)


def _chain(stages: list[nn.Sequential], in_channels: int) -> Backbone:
    """Build the backbone with the map after each of these stages."""
    return Backbone(stages, [_channels(stage) for stage in stages], _grids(stages), in_channels)


def _joined(backbone: Backbone, maps: int, *, flat: bool = True) -> Backbone:
    """Join the first stages of a backbone so that the last `maps` maps are left; by default, fewer stages will do.

    Args:
        backbone: backbone with a map after each stage.
        maps: number of maps that are left.
        flat: whether the stages that are joined are chains whose layers form one chain, or remain chains in a chain.
    """
    stages = list(backbone.stages)
    if maps > len(stages) and maps != MAPS:
        raise ValueError(
            f"maps = {maps}, but the network has {len(stages)} stages that end with a map: ask for at most that many."
        )
    joined = max(1, len(stages) - maps + 1)
    first = nn.Sequential(*(part for stage in stages[:joined] for part in (stage.children() if flat else [stage])))
    kept = slice(joined - 1, None)
    return Backbone([first, *stages[joined:]], backbone.channels[kept], backbone.grids[kept], backbone.in_channels)


def _channels(stage: nn.Module) -> int:
    """Return the number of channels of the map after a stage, those of its last convolution."""
    return [part.out_channels for part in stage.modules() if isinstance(part, nn.Conv2d)][-1]


def _grids(stages: Iterable[nn.Module]) -> list[Grid]:
    grids = [Grid()]
    for stage in stages:
        grids.append(grids[-1].through(stage))
    return grids[1:]


def _halvings(features: Iterable[nn.Module]) -> list[nn.Sequential]:
    """Split the layers into stages after each pooling."""
    stages, parts = [], []
    for layer in features:
        parts.append(layer)
        if isinstance(layer, nn.MaxPool2d):
            stages.append(nn.Sequential(*parts))
            parts = []
    return stages


def _hidden_layers(classifier: VGG | AlexNet | TwoTowerAlexNet) -> Iterator[nn.Module]:
    """Yield the layers after the features except the last, linear ones as convolutions.

    The first of these convolutions has the size of the pooled map, the others are 1×1.
    """
    side = classifier.pool.output_size
    assert isinstance(side, int)
    for layer in classifier.classifier[:-1]:
        if isinstance(layer, nn.Linear):
            yield as_convolution(layer, side)
            side = 1
        else:
            yield layer


def _backbone_of_googlenet(net: GoogLeNet) -> Backbone:
    """Build the backbone with the maps after 3b, after 4e, and after averaging over 7×7 pixels after 5b."""
    cuts: list[list[nn.Module]] = [[net.stem], [], []]
    for name, part in net.body.items():
        cuts[int(name[-1]) - 2 if name.startswith("pool") else int(name[0]) - 3].append(part)
    cuts[-1] += [nn.AvgPool2d(7, 1), net.dropout]
    stages = [nn.Sequential(*parts) for parts in cuts]
    grids = _grids(stages)
    stages[0].insert(0, net.transform)  # only now, since it acts pixel by pixel and `_grids` does not know it
    channels = [made.channels for name in ("3b", "4e", "5b") if isinstance(made := net.body[name], Parallel)]
    return Backbone(stages, channels, grids, net.in_channels)


def _backbone_of_resnet(net: ResNet) -> Backbone:
    """Build the backbone with the map after each stage.

    Flows keep the grid; a transition has 3×3 filters, stride 2 and padding 1.
    """
    grids = [Grid().through(net.stem)]
    for _ in net.stages[1:]:
        grids.append(grids[-1].then(3, stride=2, padding=1))
    stages: list[nn.Module] = [*net.stages]
    stages[0] = nn.Sequential(net.stem, stages[0])
    stages[-1] = nn.Sequential(stages[-1], net.finish)
    return Backbone(stages, [_channels(stage) for stage in stages], grids, net.in_channels)
