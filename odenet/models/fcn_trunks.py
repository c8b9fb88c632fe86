"""Trunks of fully convolutional networks: classifiers without their last layer, as maps that grow coarser.

A linear layer on a k×k map is a convolution with k×k filters that happens to see nothing but its middle. Written so, a
classifier takes images of any size and gives a map: what it would say of the patch around each of its pixels (Long et
al. 2015, section 3.1).
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
"""What a trunk is made of."""

MAPS = 3
"""How many maps a trunk made of a classifier gives: with strides 8, 16 and 32 in the published nets."""


class Trunk(nn.Module):
    """image → stage → map₁ → stage → map₂ → … : maps that grow coarser.

    Args:
        stages: in order.
        channels: of the map after each stage.
        grids: where the pixels of each of these maps lie in the image.
        in_channels: of the image.

    Raises:
        ValueError: other numbers of stages, channels and grids, or none.
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
                f"a trunk was given {len(self.stages)} stages, channels of {len(self.channels)} maps and "
                f"{len(self.grids)} grids; each stage ends in a map that has both: name as many of each, at least one."
            )

    def forward(self, x: Tensor) -> list[Tensor]:
        """(batch, in_channels, height, width) → a map (batch, channels[i], ·, ·) for each stage, the coarsest last."""
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    @checked
    def pixels_for(self, size: int) -> int:
        """Pixels of the image, along one axis, that give a coarsest map of `size` pixels."""
        grid = self.grids[-1]
        return int(grid.stride * (size - 1) + 2 * grid.centre) + 1


@checked
def trunk_of(classifier: Annotated[Classifier, Inside()]) -> Trunk:
    """The classifier without its last layer, its linear layers as convolutions: its own modules, with its weights.

    The maps are those before the last two halvings and the features that the last layer saw. Where the classifier takes
    means over its last map, the trunk of a GoogLeNet takes those of 7×7 pixels, all of that map on images of 224×224;
    the trunk of a ResNet none, since the mean of a linear layer's answers is its answer to the mean.

    Raises:
        TypeError: another network.
    """
    if isinstance(classifier, GoogLeNet):
        return _trunk_of_googlenet(classifier)
    if isinstance(classifier, ResNet):
        return _trunk_of_resnet(classifier)
    if isinstance(classifier, VGG | AlexNet | TwoTowerAlexNet):
        *stages, last = _halvings(classifier.features)
        return _chain([*stages, nn.Sequential(*last, *_hidden_layers(classifier))], classifier.in_channels)
    raise TypeError(
        f"a trunk was to be made of a {type(classifier).__name__}; only VGG, AlexNet, GoogLeNet and ResNet are known: "
        "pass one of these, or a Trunk of your own stages, channels and grids."
    )


def last_layer(classifier: Classifier) -> nn.Conv2d:
    """The last linear layer, features → logits, as a 1×1 convolution with its weights.

    >>> import torch
    >>> with torch.device("meta"):
    ...     net = VGG([(4,)], num_classes=10)  # looks at 14×14 pixels
    ...     nn.Sequential(*trunk_of(net).stages, last_layer(net))(torch.empty(1, 3, 14, 16)).shape
    torch.Size([1, 10, 1, 2])
    """
    head = classifier.head if isinstance(classifier, GoogLeNet | ResNet) else classifier.classifier[-1]
    assert isinstance(head, nn.Linear)
    return as_convolution(head, 1)


def as_convolution(linear: nn.Linear, side: int) -> nn.Conv2d:
    """A linear layer on a flattened `side`×`side` map, as the convolution with filters of that size and its weights."""
    channels = linear.in_features // side**2
    filters = nn.Conv2d(channels, linear.out_features, side, bias=linear.bias is not None, device="meta")
    filters.weight = nn.Parameter(linear.weight.detach().view(linear.out_features, channels, side, side))
    if linear.bias is not None:
        filters.bias = nn.Parameter(linear.bias.detach())
    return filters


@checked
def plain_trunk(widths: Sequence[Sequence[int]], in_channels: int = 3, *, norm: Norm | None = nn.BatchNorm2d) -> Trunk:
    """A VGG without linear layers: in each stage 3×3 convolutions to the `widths` given, and 2×2 pooling.

    Args:
        widths: channels of each convolution of each stage.
        in_channels: of the images.
        norm: makes the normalization of a number of channels; None for biases.

    Raises:
        ValueError: a count that is not a positive integer, or a stage without convolutions.
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
    return _chain(stages, in_channels)


def _chain(stages: list[nn.Sequential], in_channels: int) -> Trunk:
    """The trunk of these stages, the first of them joined so that at most `MAPS` maps are left."""
    joined = max(1, len(stages) - MAPS + 1)
    stages = [nn.Sequential(*(part for stage in stages[:joined] for part in stage)), *stages[joined:]]
    return Trunk(stages, [_channels(stage) for stage in stages], _grids(stages), in_channels)


def _channels(stage: nn.Module) -> int:
    """Of the map after a stage: those of its last convolution."""
    return [part.out_channels for part in stage.modules() if isinstance(part, nn.Conv2d)][-1]


def _grids(stages: Iterable[nn.Module]) -> list[Grid]:
    grids = [Grid()]
    for stage in stages:
        grids.append(grids[-1].through(stage))
    return grids[1:]


def _halvings(features: Iterable[nn.Module]) -> list[nn.Sequential]:
    """The layers, cut after each pooling."""
    stages, parts = [], []
    for layer in features:
        parts.append(layer)
        if isinstance(layer, nn.MaxPool2d):
            stages.append(nn.Sequential(*parts))
            parts = []
    return stages


def _hidden_layers(classifier: VGG | AlexNet | TwoTowerAlexNet) -> Iterator[nn.Module]:
    """What follows the features, but for the last layer: the first convolution has the size of the pooled map."""
    side = classifier.pool.output_size
    assert isinstance(side, int)
    for layer in classifier.classifier[:-1]:
        if isinstance(layer, nn.Linear):
            yield as_convolution(layer, side)
            side = 1
        else:
            yield layer


def _trunk_of_googlenet(net: GoogLeNet) -> Trunk:
    """Maps after 3b, 4e, and the means of 7×7 pixels after 5b."""
    cuts: list[list[nn.Module]] = [[net.stem], [], []]
    for name, part in net.body.items():
        cuts[int(name[-1]) - 2 if name.startswith("pool") else int(name[0]) - 3].append(part)
    cuts[-1] += [nn.AvgPool2d(7, 1), net.dropout]
    stages = [nn.Sequential(*parts) for parts in cuts]
    grids = _grids(stages)
    stages[0].insert(0, net.transform)  # of pixels, each for itself
    channels = [made.channels for name in ("3b", "4e", "5b") if isinstance(made := net.body[name], Parallel)]
    return Trunk(stages, channels, grids, net.in_channels)


def _trunk_of_resnet(net: ResNet) -> Trunk:
    """Maps after the last stages. Flows keep the grid, and a transition halves it where it is: 3×3, stride 2, pad 1."""
    grids = [Grid().through(net.stem)]
    for _ in net.stages[1:]:
        grids.append(grids[-1].then(3, stride=2, padding=1))
    stages: list[nn.Module] = [*net.stages]
    stages[0] = nn.Sequential(net.stem, stages[0])
    stages[-1] = nn.Sequential(stages[-1], net.finish)
    joined = max(1, len(stages) - MAPS + 1)
    stages = [nn.Sequential(*stages[:joined]), *stages[joined:]]
    return Trunk(stages, [_channels(stage) for stage in stages], grids[joined - 1 :], net.in_channels)
