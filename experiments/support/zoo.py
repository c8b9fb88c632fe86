"""Networks that `complexity` compares, by name: published ones, and small ones for images such as 28×28."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias

import torch
from torch import nn

from odenet import models
from odenet.blocks.errors import unknown_name
from odenet.data import ImageData
from odenet.layers import Inception, InceptionWidths, convolution
from odenet.models import VGG, cifar_resnet, ode_net, plain20, res_net, resnet20, rk_net
from odenet.models.plain import plain_stage
from odenet.models.resnet import projected_shortcut

Maker: TypeAlias = Callable[..., nn.Module]
"""Constructor `make(num_classes, in_channels)`."""

IMAGENET: Mapping[str, Maker] = {
    "alexnet": models.alexnet,
    "vgg16": models.vgg16,
    "vgg19": models.vgg19,
    "googlenet": partial(models.googlenet, auxiliary=None),  # the auxiliary classifiers are for training
    "googlenet_bn": partial(models.googlenet_bn, auxiliary=None),
    "plain18": models.plain18,
    "plain34": models.plain34,
    "resnet18": models.resnet18,
    "resnet34": models.resnet34,
    "resnet50": models.resnet50,
    "resnet101": models.resnet101,
    "resnet152": models.resnet152,
}

OTHERS: Mapping[str, Maker] = {
    "alexnet_towers": models.alexnet_towers,
    "resnext50_32x4d": models.resnext50_32x4d,
    "resnext101_32x8d": models.resnext101_32x8d,
    "resnext101_64x4d": models.resnext101_64x4d,
    "wide_resnet50_2": models.wide_resnet50_2,
    "wide_resnet101_2": models.wide_resnet101_2,
    "fcn32s": models.fcn32s,
    "fcn16s": models.fcn16s,
    "fcn8s": models.fcn8s,
    "deconvnet": models.deconvnet,
    "unet": partial(models.unet, in_channels=3),
}
"""Networks for images of the size of ImageNet's; the last five label every pixel."""

CIFAR: Mapping[str, Maker] = {
    f"{kind}{depth}": getattr(models, f"{kind}{depth}")
    for kind, depths in {"resnet": (20, 32, 44, 56, 110, 1202), "plain": (20, 32, 44, 56, 110)}.items()
    for depth in depths
}

CHEN: Mapping[str, Maker] = {"res_net": res_net, "rk_net": rk_net, "ode_net": ode_net}
"""Networks of Chen et al. 2018, for images of 28×28."""

_SHAPES = ((IMAGENET, (3, 224, 224)), (OTHERS, (3, 224, 224)), (CIFAR, (3, 32, 32)), (CHEN, (1, 28, 28)))

WIDTHS = (
    InceptionWidths(16, 24, 32, 4, 8, 8),
    InceptionWidths(48, 24, 52, 4, 12, 16),
    InceptionWidths(64, 40, 80, 8, 32, 32),
)
"""Widths of GoogLeNet's modules 3a, 4a and 4e with a quarter of the channels."""


def linear(num_classes: int, in_channels: int) -> nn.Module:
    """Build one linear layer on the pixels, for comparison with deep nets."""
    del in_channels
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))


def all_convolutional(num_classes: int, in_channels: int, *, width: int = 24) -> nn.Module:
    """Build a net of 3×3 convolutions: one of `width` channels, two of 2·`width`, two of 4·`width`; a classifier."""
    unit = partial(convolution, size=3, norm=nn.BatchNorm2d)
    return nn.Sequential(
        *(unit(in_channels, width), nn.MaxPool2d(2)),
        *(unit(width, 2 * width), unit(2 * width, 2 * width), nn.MaxPool2d(2)),
        *(unit(2 * width, 4 * width), unit(4 * width, 4 * width)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, num_classes)),
    )


def small_inception(num_classes: int, in_channels: int) -> nn.Module:
    """Build a small GoogLeNet: 3×3 stem, Inception module at half the resolution, two at a quarter, means, linear."""
    first = Inception(32, WIDTHS[0], norm=nn.BatchNorm2d)
    second = Inception(first.channels, WIDTHS[1], norm=nn.BatchNorm2d)
    third = Inception(second.channels, WIDTHS[2], norm=nn.BatchNorm2d)
    return nn.Sequential(
        *(convolution(in_channels, 32, 3, norm=nn.BatchNorm2d), nn.MaxPool2d(2)),
        *(first, nn.MaxPool2d(2), second, third),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(third.channels, num_classes)),
    )


SMALL: Mapping[str, Maker] = {
    "linear": linear,
    "vgg6": partial(VGG, [(16, 16), (32, 32)], norm=nn.BatchNorm2d, hidden=256),
    "conv6": all_convolutional,
    "inception": small_inception,
    "plain8/2": partial(cifar_resnet, 1, stem_stride=2, shortcut=None, flow=plain_stage),
    "resnet8/2": partial(cifar_resnet, 1, stem_stride=2),
    "plain20/2": partial(plain20, stem_stride=2),
    "resnet20/2": partial(resnet20, stem_stride=2),
    "plain20": plain20,
    "resnet20": resnet20,
    "resnet18": partial(cifar_resnet, 2, widths=(64, 128, 256, 512), shortcut=projected_shortcut),
    "res_net16": partial(res_net, channels=16),
    "rk_net16": partial(rk_net, channels=16),
    "ode_net16": partial(ode_net, channels=16),
    **CHEN,
}
"""Constructors of small networks; `/2` means that the stem halves the image. The last six are those of Chen et al.
2018, with 16 channels or the original 64."""


def published_net(name: str) -> tuple[Maker, tuple[int, int, int]]:
    """Return the constructor of the published net called `name`, and the shape of its images.

    Raises:
        ValueError: if no net has this name.
    """
    for nets, shape in _SHAPES:
        if name in nets:
            return nets[name], shape
    raise unknown_name("net", name, [known for nets, _ in _SHAPES for known in nets])


def small_net(name: str, data: ImageData) -> nn.Module:
    """Build the net of `SMALL` called `name` for these images, and try it on an empty image to check that they fit.

    Raises:
        ValueError: if no net has this name, or the images are too small for it.
    """
    if name not in SMALL:
        raise unknown_name("net", name, SMALL)
    net = SMALL[name](data.num_classes, data.in_channels).eval()
    with torch.no_grad():
        net(torch.zeros(1, data.in_channels, *data.image_size))
    return net.train()
