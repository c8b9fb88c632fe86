"""Small detectors for the detection experiment, by name."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from odenet import Euler, FixedSteps, Mixed, configure
from odenet.blocks.branches import group_norm
from odenet.blocks.errors import unknown_name
from odenet.models import backbone_of, cifar_resnet, fcos, mask_rcnn
from odenet.models.plain import plain_stage

HEADS = ("fcos", "mask_rcnn")
"""Names of the detectors, without that of the backbone."""

BACKBONES: dict[str, dict[str, Any]] = {
    "plain": {"shortcut": None, "flow": plain_stage},
    "flows": {},
    "group_norm": {"norm": partial(group_norm)},
    "mixed": {},
}
"""Options of `cifar_resnet` for each backbone."""

NETS = tuple(f"{head}_{backbone}" for head in HEADS for backbone in BACKBONES)
"""Names of the nets that `detection_net` builds."""

COMPARED = ("fcos_flows", "mask_rcnn_flows", "fcos_plain", "mask_rcnn_plain", "fcos_group_norm")
"""Nets that the experiment trains by default."""

MASKS = tuple(name for name in NETS if name.startswith("mask_rcnn"))
"""Nets that find masks, too."""

FLOWS = tuple(name for name in NETS if not name.endswith("plain"))
"""Nets that consist of flows, which are tested with other steppings."""


def detection_net(name: str, num_classes: int, size: int = 96, width: int = 16) -> nn.Module:
    """Build the detector called HEAD_BACKBONE for images of `size`×`size` pixels.

    FCOS sees the maps of strides 8 and 16 of a pre-activation ResNet of 18 layers, and Mask R-CNN also that of stride
    4. The backbones have the same parameters:

    - plain: the same layers without the identity, an ordinary convolutional net;
    - flows: stages of one or two Euler steps of h = 1, which is the ordinary ResNet;
    - group_norm: the same with GroupNorm, which has no running statistics;
    - mixed: flows trained under one, two and four Euler steps per piece, drawn for each batch; tested with two.

    Args:
        name: One of `NETS`.
        num_classes: Number of classes, with the background.
        size: Side of the images in pixels, a multiple of 32.
        width: Number of channels of the first stage; 16 suits a CPU. The pyramid has 4 times as many.

    Raises:
        ValueError: if the name is unknown.
    """
    if name not in NETS:
        raise unknown_name("net", name, NETS)
    head = next(head for head in HEADS if name.startswith(head))
    backbone = name.removeprefix(f"{head}_")
    widths = (width, 2 * width, 4 * width, 4 * width)
    net = cifar_resnet(2, widths=widths, stem_stride=2, activation="pre", **BACKBONES[backbone])
    if head == "fcos":
        channels = 32 * -(-4 * width // 32)  # which the 32 groups of its norms can share
        options: dict[str, Any] = {"channels": channels, "score_thresh": 0.05}
        detector: nn.Module = fcos(backbone_of(net, maps=2), num_classes, size=size, **options)
    else:
        options = {"channels": 4 * width, "hidden": 8 * width, "box_detections_per_img": 10}
        detector = mask_rcnn(backbone_of(net, maps=3), num_classes, size=size, **options)
    if backbone == "mixed":
        configure(detector, stepping=Mixed([FixedSteps(Euler(), per_piece=steps) for steps in (2, 1, 4)]))
    return detector
