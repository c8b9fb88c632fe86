"""Small networks of about equal cost for the segmentation experiment, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from odenet.blocks.errors import unknown_name
from odenet.models import (
    Backbone,
    backbone_of,
    cifar_resnet,
    deconvnet,
    fcn,
    fcn8s,
    fcn16s,
    fcn32s,
    plain_backbone,
    unet,
)
from odenet.models.resnet import residual_flow

NETS = ("full_resolution", "fcn32s", "fcn16s", "fcn8s", "fcn_resnet", "deconvnet", "unet", "unet_flows")
"""Names of the networks that `segmentation_net` builds."""

FLOWS = ("fcn_resnet", "unet_flows")
"""Networks with ODE blocks, which are tested with other steppings."""


def segmentation_net(name: str, num_classes: int, in_channels: int = 3, width: int = 8) -> nn.Module:
    """Build the net called `name` for images of any size, with BatchNorm after every convolution.

    - full_resolution: two residual blocks without downsampling;
    - fcn32s, fcn16s, fcn8s: on a VGG of five stages without linear layers;
    - fcn_resnet: three maps of a pre-activation ResNet, stride 4, 8 and 16, whose stages are flows;
    - deconvnet: max unpooling, no skips;
    - unet, unet_flows: four poolings; with flows in every stage, one channel is left out at the bottom, so that it has
      no more parameters than the ordinary one.

    Args:
        name: One of `NETS`.
        num_classes: Number of logits of a pixel.
        in_channels: Number of channels of the images.
        width: Common divisor of all numbers of channels; 8 suits a CPU.

    Raises:
        ValueError: if the name is unknown.
    """
    w, norm = width, nn.BatchNorm2d
    plain = [(2 * w,), (4 * w, 4 * w), (8 * w, 8 * w), (8 * w,), (8 * w,)]
    mirrored = [(n * w, n * w) for n in (1, 2, 4, 8)]
    u, lean_u = ((w, 2 * w, 4 * w, 8 * w, 16 * w - less) for less in (0, 1))
    makers: dict[str, Callable[[int, int], nn.Module]] = {
        "full_resolution": partial(fcn, width=2 * w, blocks=2),
        "fcn32s": lambda classes, channels: fcn32s(classes, channels, backbone=plain_backbone(plain, channels)),
        "fcn16s": lambda classes, channels: fcn16s(classes, channels, backbone=plain_backbone(plain, channels)),
        "fcn8s": lambda classes, channels: fcn8s(classes, channels, backbone=plain_backbone(plain, channels)),
        "fcn_resnet": lambda classes, channels: fcn8s(classes, channels, backbone=_resnet_backbone(channels, w)),
        "deconvnet": partial(deconvnet, stages=mirrored, hidden=16 * w, window=3),
        "unet": partial(unet, widths=u, norm=norm),
        "unet_flows": partial(unet, widths=lean_u, norm=norm, flow=residual_flow),
    }
    if name not in makers:
        raise unknown_name("net", name, makers)
    return makers[name](num_classes, in_channels)


def _resnet_backbone(in_channels: int, w: int) -> Backbone:
    widths = (2 * w, 4 * w, 8 * w, 8 * w)
    return backbone_of(cifar_resnet(2, in_channels=in_channels, widths=widths, stem_stride=2, activation="pre"))
