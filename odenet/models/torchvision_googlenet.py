"""Conversion of torchvision's GoogLeNet, pretrained or not, to a `googlenet_bn` with the same outputs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from odenet.blocks.annotations import kind_of, shown
from odenet.blocks.arguments import checked
from odenet.blocks.extras import Extra
from odenet.models.googlenet import AuxiliaryClassifier, GoogLeNet, googlenet_bn

if TYPE_CHECKING:
    from torchvision.models import GoogLeNet as TorchvisionGoogLeNet
    from torchvision.models.googlenet import InceptionAux

_RENAMED = (
    (r"^conv(\d)\.", r"stem.conv\1."),
    (r"^inception(\d\w)\.", r"body.\1."),
    (r"^aux1\.", "auxiliaries.4a."),
    (r"^aux2\.", "auxiliaries.4d."),
    (r"^fc\.|\bfc2\.", "head."),
    (r"\bfc1\.", "hidden."),
    (r"\.branch1\.", ".ones."),
    (r"\.branch2\.", ".threes."),
    (r"\.branch3\.", ".fives."),
    (r"\.branch4\.1\.", ".pooled.project."),
    (r"\.0\.", ".reduce."),
    (r"\.1\.", ".filter."),
    (r"\.bn\.", ".norm."),
)
"""Pairs of a pattern in torchvision's parameter names and its replacement here, applied in order."""


class ChannelScaling(nn.Module):
    """x꜀ ↦ a꜀·x꜀ + b꜀ for all pixels of each channel c, without trainable parameters.

    Args:
        scales: factors a, one for each channel.
        shifts: summands b, one for each channel.
    """

    def __init__(self, scales: list[float], shifts: list[float]) -> None:
        super().__init__()
        self.register_buffer("scales", torch.tensor(scales).view(-1, 1, 1), persistent=False)
        self.register_buffer("shifts", torch.tensor(shifts).view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return a·x + b for x of shape (batch, channels, h, w)."""
        return x * self.get_buffer("scales") + self.get_buffer("shifts")


def imagenet_to_symmetric() -> ChannelScaling:
    """Build the map from images normalized by ImageNet's mean and deviation to images normalized as (x - 0.5)/0.5."""
    means, deviations = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return ChannelScaling([s / 0.5 for s in deviations], [(m - 0.5) / 0.5 for m in means])


def load_torchvision(net: GoogLeNet, state: Mapping[str, Tensor]) -> None:
    """Copy weights and statistics of `torchvision.models.googlenet`, given as its state dict, into `net`.

    Weights of auxiliary classifiers are left out if `net` has none, as in torchvision. torchvision's pretrained net
    also rescales its images, which the state dict does not contain; `googlenet_from_torchvision` copies this too.

    Raises:
        ValueError: if the weights are for another network, number of classes or number of channels than those of `net`.
    """
    renamed = {_renamed(name): value for name, value in state.items()}
    if not net.auxiliaries:
        renamed = {name: value for name, value in renamed.items() if not name.startswith("auxiliaries.")}
    _require_same_shapes(renamed, net.state_dict())
    net.load_state_dict(renamed)


@checked
def googlenet_from_torchvision(model: TorchvisionGoogLeNet) -> GoogLeNet:
    """Convert torchvision's GoogLeNet `model` to a `googlenet_bn` with the same outputs.

    The outputs are equal in evaluation mode and, with the same seed for dropout, in training mode. The weights are
    copies, on the same device. If `model` rescales its images, as torchvision's pretrained net does, the converted net
    does so in its `transform`.

    Args:
        model: instance of `torchvision.models.GoogLeNet`.

    Raises:
        TypeError: if `model` is not torchvision's GoogLeNet.
        ValueError: if its weights do not fit `googlenet_bn`.
    """
    _require_torchvision(model)
    options: dict[str, Any] = {"dropout": model.dropout.p, "auxiliary": None}
    if model.aux1 is not None:
        dropout = cast("InceptionAux", model.aux1).dropout.p
        options["auxiliary"] = partial(AuxiliaryClassifier, pool=nn.AdaptiveAvgPool2d(4), dropout=dropout)
    if model.transform_input:
        options["transform"] = imagenet_to_symmetric()
    state = model.state_dict()
    net = googlenet_bn(len(state["fc.weight"]), state["conv1.conv.weight"].shape[1], **options).to(state["fc.weight"])
    load_torchvision(net, state)
    net.train(model.training)
    net.dropout.training = model.dropout.training
    for name, parameter in model.named_parameters():  # so that frozen layers stay frozen
        net.get_parameter(_renamed(name)).requires_grad_(parameter.requires_grad)
        net.get_submodule(_layer_of(_renamed(name))).training = model.get_submodule(_layer_of(name)).training
    return net


def _require_torchvision(model: object) -> None:
    with Extra("data"):
        from torchvision.models import GoogLeNet as Torchvision

    if not isinstance(model, Torchvision):
        raise TypeError(
            f"googlenet_from_torchvision was given model={shown(model)}, {kind_of(model)}; it converts "
            "torchvision.models.GoogLeNet: pass one, or use odenet.from_torchvision for a ResNet."
        )


def _layer_of(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def _renamed(name: str) -> str:
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def _require_same_shapes(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    shapes, wanted = ({name: tuple(value.shape) for name, value in state.items()} for state in (given, own))
    names = sorted(name for name in shapes.keys() | wanted.keys() if shapes.get(name) != wanted.get(name))
    if names:
        name = names[0]
        raise ValueError(
            f"weights of torchvision's googlenet were given for a net that they do not fit: {name} is "
            f"{shapes.get(name, 'missing')} there and {wanted.get(name, 'missing')} here, and {len(names) - 1} more "
            "differ: build the net by googlenet_bn, with the num_classes and in_channels of the weights, and with "
            "auxiliary=None if the weights have no auxiliary classifiers."
        )
