"""Conversion between torchvision's detectors on a ResNet and the same detectors on flows and transitions.

Only the ResNet is converted, by `from_torchvision`; the feature pyramid, the heads, the anchors and the order of all
operations remain torchvision's. So the maps of the pyramid, the losses and the detections are equal.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import torch
from torch import Tensor, nn

from odenet.blocks.annotations import Inside
from odenet.blocks.arguments import checked
from odenet.blocks.block import label_blocks
from odenet.blocks.extras import Extra
from odenet.models.detection import Pyramid
from odenet.models.fcn_trunks import backbone_of
from odenet.models.resnet import ResNet, imagenet_resnet
from odenet.models.torchvision_resnet import from_torchvision, to_torchvision

if TYPE_CHECKING:
    from torchvision.models.detection import FCOS, FasterRCNN, MaskRCNN, RetinaNet

    Detector: TypeAlias = FCOS | RetinaNet | FasterRCNN | MaskRCNN
    """Detectors of torchvision; Mask R-CNN and Keypoint R-CNN are special cases of Faster R-CNN."""

_BODY = ("conv1", "bn1", "maxpool", "layer1", "layer2", "layer3", "layer4")
"""Names of the parts of the ResNet in a detector of torchvision, which lacks the pooling and the head."""


@checked
def detector_from_torchvision(model: Annotated[Detector, Inside()]) -> Detector:
    """Convert torchvision's detector `model` on a ResNet with a feature pyramid to one of flows and transitions.

    All that `fcos_resnet50_fpn`, `retinanet_resnet50_fpn`, `retinanet_resnet50_fpn_v2`, `fasterrcnn_resnet50_fpn`,
    `fasterrcnn_resnet50_fpn_v2`, `maskrcnn_resnet50_fpn` and their relatives on other ResNets return can be converted,
    with any weights and any normalization, also frozen. The result is of the class of `model` and has equal losses and
    detections. Nothing is shared with `model`. The parameters that require no gradient in `model` do not here either.

    >>> from torchvision.models.detection import fcos_resnet50_fpn
    >>> theirs = fcos_resnet50_fpn(weights_backbone=None)
    >>> ours, x = detector_from_torchvision(theirs).eval(), torch.randn(1, 3, 64, 64)
    >>> all(torch.equal(a, b) for a, b in zip(ours.backbone(x).values(), theirs.eval().backbone(x).values()))
    True

    Args:
        model: detector of torchvision.

    Raises:
        TypeError: if `model` is not a detector of torchvision.
        ValueError: if its backbone is not a ResNet of torchvision with a feature pyramid.
    """
    _require_detector(model, "detector_from_torchvision")
    body, fpn = getattr(model.backbone, "body", None), getattr(model.backbone, "fpn", None)
    if not isinstance(body, nn.Module) or not isinstance(fpn, nn.Module) or not hasattr(body, "layer1"):
        raise ValueError(
            f"detector_from_torchvision was given a {type(model).__name__} on a {type(model.backbone).__name__}; only "
            "a ResNet of torchvision with a feature pyramid can be converted: pass what fcos_resnet50_fpn or "
            "maskrcnn_resnet50_fpn returns, or build the detector by odenet.models.fcos and its relatives."
        )
    layers: Any = body
    backbone = backbone_of(from_torchvision(_resnet_with(body)), maps=len(layers.return_layers))
    backbone.train(model.backbone.training)
    ours = copy.deepcopy(model, {id(model.backbone): None})  # the backbone is not copied, because it is replaced
    ours.backbone = Pyramid(backbone, copy.deepcopy(fpn))
    ours.backbone.training = model.backbone.training
    label_blocks(ours)
    return ours


@checked
def detector_to_torchvision(detector: Annotated[Detector, Inside()]) -> dict[str, Tensor]:
    """Return the state dict of torchvision's detector that computes what `detector` does; it loads with `strict=True`.

    This inverts `detector_from_torchvision`, also after training; as `to_torchvision`, it takes other step sizes into
    the scale of the last normalization of each branch.

    Raises:
        TypeError: if `detector` is not a detector of torchvision.
        ValueError: if its backbone was not made by `detector_from_torchvision`, or torchvision has no such ResNet; the
            message names the place and what to do.
    """
    _require_detector(detector, "detector_to_torchvision")
    resnet = {f"backbone.body.{name}": tensor for name, tensor in to_torchvision(_resnet_of(detector)).items()}
    rest = {name: tensor for name, tensor in detector.state_dict().items() if not name.startswith("backbone.backbone.")}
    return {name: tensor for name, tensor in resnet.items() if not name.startswith("backbone.body.fc.")} | rest


@checked
def fcos_resnet50_fpn(**options: Any) -> FCOS:
    """Build FCOS on ResNet-50 from torchvision's function of this name, which takes the options: 32,269,600 parameters.

    39.2 box AP on COCO with `weights="DEFAULT"`. In contrast to torchvision, nothing is downloaded unless `weights` or
    `weights_backbone` asks for it.
    """
    return _converted("fcos_resnet50_fpn", options)


@checked
def retinanet_resnet50_fpn(**options: Any) -> RetinaNet:
    """Build RetinaNet on ResNet-50, as `fcos_resnet50_fpn` does FCOS: 34,014,999 parameters, 36.4 box AP on COCO."""
    return _converted("retinanet_resnet50_fpn", options)


@checked
def fasterrcnn_resnet50_fpn(**options: Any) -> FasterRCNN:
    """Build Faster R-CNN on ResNet-50, as `fcos_resnet50_fpn` does FCOS: 41,755,286 parameters, 37.0 box AP on COCO."""
    return _converted("fasterrcnn_resnet50_fpn", options)


@checked
def maskrcnn_resnet50_fpn(**options: Any) -> MaskRCNN:
    """Build Mask R-CNN on ResNet-50, as `fcos_resnet50_fpn` does FCOS: 44,401,393 parameters.

    37.9 box AP and 34.6 mask AP on COCO.
    """
    return _converted("maskrcnn_resnet50_fpn", options)


def _converted(name: str, options: dict[str, Any]) -> Any:
    with Extra("data"):
        from torchvision.models import detection

    make: Callable[..., Any] = getattr(detection, name)
    return detector_from_torchvision(make(**({"weights_backbone": None} | options)))


def _require_detector(model: object, asked: str) -> None:
    with Extra("data"):
        from torchvision.models.detection import FCOS, RetinaNet
        from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

    if not isinstance(model, FCOS | RetinaNet | GeneralizedRCNN):
        raise TypeError(
            f"{asked} was given a {type(model).__name__}; it converts torchvision's FCOS, RetinaNet, Faster R-CNN and "
            "Mask R-CNN: pass one of these, or use from_torchvision and to_torchvision for a ResNet alone."
        )


def _resnet_with(body: nn.Module) -> Any:
    """Return torchvision's ResNet with the parts of a detector's body, which end where its last map is made."""
    with Extra("data"):
        from torchvision.models.resnet import ResNet as Torchvision

    parts = dict(body.named_children())
    kind: Any = type(next(iter(parts["layer1"].children())))
    with torch.device("meta"):
        model: Any = Torchvision(kind, [1] * 4)
    for name in _BODY:
        if name in parts:
            setattr(model, name, parts[name])
    if lacking := [name for name in _BODY if name not in parts]:
        raise ValueError(
            f"detector_from_torchvision was given a detector whose ResNet lacks {', '.join(lacking)}; the maps that it "
            "returns end with an earlier stage: return the map of layer4 too (returned_layers=[…, 4])."
        )
    model.fc = nn.Identity()
    return model.train(body.training)


def _resnet_of(detector: Detector) -> ResNet:
    """Return the ResNet whose stem and stages are those of a detector, with which it shares all modules."""
    maps = detector.backbone
    stages: list[nn.Module] = []
    if isinstance(maps, Pyramid):
        first, *others = maps.backbone.stages
        stages = [part for part in first.children() if not isinstance(part, nn.Identity)] + others
    if not stages or len(stages) != 4 or not isinstance(stages[0], nn.Sequential) or len(stages[0]) != 2:
        raise ValueError(
            f"detector_to_torchvision was given a detector on a {type(maps).__name__} that is not a ResNet of four "
            "stages: torchvision has no detector with such a backbone; pass one that detector_from_torchvision made."
        )
    stem, stages[0] = stages[0].children()
    stages[3] = next(iter(stages[3].children()))
    with torch.device("meta"):
        net = imagenet_resnet([1, 1, 1, 1])
    net.stem, net.stages = stem, nn.Sequential(*stages)
    return net
