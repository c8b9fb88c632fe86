"""ResNets with grouped or wider bottlenecks: ResNeXt (Xie et al. 2017) and wide ResNet (Zagoruyko and Komodakis 2016).

Only the 3×3 convolutions of the bottleneck branches differ from `resnet50` and `resnet101`. The name 32x4d means 32
groups of 4 channels in the first stage; a wide net has one group of twice the channels.
Multiply-adds are those of an image of 224×224.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from odenet.blocks.arguments import checked
from odenet.blocks.branches import BottleneckBranch
from odenet.models.resnet import ResNet, imagenet_resnet


@checked
def resnext50_32x4d(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """Build ResNeXt-50 (Xie et al. 2017, table 1): 25,028,904 parameters, 4.2 G multiply-adds."""
    return _grouped([3, 4, 6, 3], 32, 4, num_classes, in_channels, **options)


@checked
def resnext101_32x8d(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """Build ResNeXt-101 with 32 groups of 8 (torchvision only): 88,791,336 parameters, 16.4 G multiply-adds."""
    return _grouped([3, 4, 23, 3], 32, 8, num_classes, in_channels, **options)


@checked
def resnext101_64x4d(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """Build ResNeXt-101 with 64 groups of 4 (Xie et al. 2017, table 4): 83,455,272 parameters, 15.5 G multiply-adds."""
    return _grouped([3, 4, 23, 3], 64, 4, num_classes, in_channels, **options)


@checked
def wide_resnet50_2(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """Build wide ResNet-50 (Zagoruyko and Komodakis 2016, table 8): 68,883,240 parameters, 11.4 G multiply-adds."""
    return _grouped([3, 4, 6, 3], 1, 128, num_classes, in_channels, **options)


@checked
def wide_resnet101_2(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """Build wide ResNet-101 (torchvision only): 126,886,696 parameters, 22.8 G multiply-adds."""
    return _grouped([3, 4, 23, 3], 1, 128, num_classes, in_channels, **options)


def _grouped(
    blocks: Sequence[int], groups: int, width_per_group: int, num_classes: int, in_channels: int, **options: Any
) -> ResNet:
    branch = partial(BottleneckBranch, groups=groups, width_per_group=width_per_group)
    return imagenet_resnet(blocks, num_classes, in_channels, expansion=4, branch=branch, **options)
