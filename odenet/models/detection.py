"""Detectors on a backbone of flows: torchvision's FCOS, RetinaNet, Faster R-CNN and Mask R-CNN, for small images.

A feature pyramid (Lin et al. 2017) gives the maps of a `Backbone` equally many channels, and adds to each the coarser
ones. torchvision's detectors take it for their backbone, unchanged. They are called as torchvision's are:

- in training mode, `detector(images, targets)` returns a dictionary of losses;
- in evaluation mode, `detector(images)` returns for each image a dictionary of boxes, labels, scores (and masks).

Images are a list of tensors (channels, height, width) with pixels in [0, 1], or a batch of them. Labels count from 1.
The constructors hand further options on to torchvision's class; the defaults suit images of about 100 pixels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor, nn

from odenet.blocks.annotations import AnyNumber
from odenet.blocks.arguments import checked
from odenet.blocks.block import label_blocks
from odenet.blocks.extras import Extra
from odenet.models.fcn_trunks import Backbone

if TYPE_CHECKING:
    from torchvision.models.detection import FCOS, FasterRCNN, MaskRCNN, RetinaNet
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

D = TypeVar("D", bound=nn.Module)

ANCHOR = 4
"""Side of the anchors of a map in pixels of that map, where a detector has anchors of a size."""

RATIOS = (0.5, 1.0, 2.0)
"""Ratios of height and width of these anchors."""


class Pyramid(nn.Module):
    """Feature pyramid of a backbone: image → OrderedDict of maps with `out_channels` channels, the finest first.

    Args:
        backbone: backbone with the maps to use.
        fpn: torchvision's feature pyramid network for the channels of these maps.

    Attributes:
        out_channels: number of channels of every map of the pyramid.
    """

    @checked
    def __init__(self, backbone: Backbone, fpn: nn.Module) -> None:
        super().__init__()
        self.backbone, self.fpn = backbone, fpn
        self.out_channels = next(layer.out_channels for layer in fpn.modules() if isinstance(layer, nn.Conv2d))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the maps "0", "1", …: (batch, in_channels, height, width) → (batch, out_channels, ·, ·) each."""
        return self.fpn(OrderedDict((str(number), features) for number, features in enumerate(self.backbone(x))))


@checked
def pyramid(backbone: Backbone, channels: int = 64) -> Pyramid:
    """Build the feature pyramid of a backbone, with as many maps as the backbone has.

    Args:
        backbone: backbone, such as `backbone_of(net, maps=3)`.
        channels: number of channels of every map of the pyramid; 256 in the paper.
    """
    with Extra("data"):
        from torchvision.ops import FeaturePyramidNetwork

    fpn: FeaturePyramidNetwork = FeaturePyramidNetwork(list(backbone.channels), channels)
    return Pyramid(backbone, fpn)


@checked
def fcos(
    backbone: Backbone,
    num_classes: int,
    *,
    size: int = 96,
    channels: int = 64,
    convolutions: int = 2,
    mean: AnyNumber = 0.5,
    std: float = 0.25,
    **options: Any,
) -> FCOS:
    """Build FCOS (Tian et al. 2019): each pixel of a map predicts a class, the sides of a box, and its centredness.

    >>> from odenet.models import backbone_of, cifar_resnet
    >>> net = cifar_resnet(2, widths=(16, 32, 64, 64), stem_stride=2, activation="pre")
    >>> detector = fcos(backbone_of(net, maps=2), num_classes=5)
    >>> sum(parameter.numel() for parameter in detector.parameters())
    555994

    Args:
        backbone: backbone with the maps to use: those of strides 8 and 16 for images of 96×96 pixels.
        num_classes: number of classes, with the background, which is number 0.
        size: side of the images in pixels, a multiple of 32. In evaluation larger and smaller ones are resized to it;
            in training they are not, unless `_skip_resize=False` is among the options.
        channels: number of channels of the pyramid and of the heads, a multiple of 32 because of their GroupNorm.
        convolutions: number of 3×3 convolutions of each of the two heads; 4 in the paper.
        mean: mean of every colour channel of the images, pixels in [0, 1], by which the detector normalizes.
        std: standard deviation of the same.
        options: further options of torchvision's `FCOS`.

    Raises:
        ValueError: if `size` or `channels` is not a multiple of 32.
    """
    with Extra("data"):
        from torchvision.models.detection import FCOS
        from torchvision.models.detection.fcos import FCOSHead

    if channels % 32:
        raise ValueError(
            f"channels must be a multiple of 32, got {channels}: the heads of torchvision's FCOS normalize 32 groups "
            f"of channels; give {channels // 32 * 32 + 32}."
        )
    maps = pyramid(backbone, channels)
    anchors = _anchors([(grid.stride,) for grid in backbone.grids], (1.0,))
    defaults: dict[str, Any] = {"head": FCOSHead(channels, 1, num_classes, convolutions), "anchor_generator": anchors}
    return _labelled(FCOS(maps, num_classes, **(_on_images(backbone, size, mean, std) | defaults | options)))


@checked
def retinanet(
    backbone: Backbone,
    num_classes: int,
    *,
    size: int = 96,
    channels: int = 64,
    mean: AnyNumber = 0.5,
    std: float = 0.25,
    **options: Any,
) -> RetinaNet:
    """Build RetinaNet (Lin et al. 2017b): each of nine anchors at a pixel of a map predicts a class and a box.

    Args:
        backbone: backbone with the maps to use.
        num_classes: number of classes, with the background, which is number 0.
        size: side of the images in pixels, a multiple of 32, as in `fcos`.
        channels: number of channels of the pyramid and of the heads.
        mean: mean of every colour channel of the images, pixels in [0, 1], by which the detector normalizes.
        std: standard deviation of the same.
        options: further options of torchvision's `RetinaNet`.
    """
    with Extra("data"):
        from torchvision.models.detection import RetinaNet

    sides = [tuple(round(ANCHOR * grid.stride * 2 ** (k / 3)) for k in range(3)) for grid in backbone.grids]
    defaults: dict[str, Any] = {"anchor_generator": _anchors(sides, RATIOS)}
    maps = pyramid(backbone, channels)
    return _labelled(RetinaNet(maps, num_classes, **(_on_images(backbone, size, mean, std) | defaults | options)))


@checked
def faster_rcnn(
    backbone: Backbone,
    num_classes: int,
    *,
    size: int = 96,
    channels: int = 64,
    hidden: int = 128,
    mean: AnyNumber = 0.5,
    std: float = 0.25,
    **options: Any,
) -> FasterRCNN:
    """Build Faster R-CNN (Ren et al. 2015): a network proposes regions, and a second one classifies each of them.

    Args:
        backbone: backbone with the maps to use. Regions smaller than 224 pixels are all cut out of the finest map
            (Lin et al. 2017, equation 1), so that of stride 4 should be among them.
        num_classes: number of classes, with the background, which is number 0.
        size: side of the images in pixels, a multiple of 32, as in `fcos`.
        channels: number of channels of the pyramid.
        hidden: number of units of the two hidden layers that classify a region.
        mean: mean of every colour channel of the images, pixels in [0, 1], by which the detector normalizes.
        std: standard deviation of the same.
        options: further options of torchvision's `FasterRCNN`, such as `rpn_batch_size_per_image`.
    """
    with Extra("data"):
        from torchvision.models.detection import FasterRCNN

    defaults = _on_images(backbone, size, mean, std) | _on_regions(backbone, num_classes, channels, hidden)
    return _labelled(FasterRCNN(pyramid(backbone, channels), None, **(defaults | options)))


@checked
def mask_rcnn(
    backbone: Backbone,
    num_classes: int,
    *,
    size: int = 96,
    channels: int = 64,
    hidden: int = 128,
    mask_convolutions: int = 2,
    mean: AnyNumber = 0.5,
    std: float = 0.25,
    **options: Any,
) -> MaskRCNN:
    """Build Mask R-CNN (He et al. 2017): Faster R-CNN, with a mask of 28×28 pixels for each region.

    Args:
        backbone: backbone with the maps to use, as for `faster_rcnn`: those of strides 4, 8 and 16.
        num_classes: number of classes, with the background, which is number 0.
        size: side of the images in pixels, a multiple of 32, as in `fcos`.
        channels: number of channels of the pyramid and of the layers that draw the mask.
        hidden: number of units of the two hidden layers that classify a region.
        mask_convolutions: number of 3×3 convolutions that draw the mask; 4 in the paper.
        mean: mean of every colour channel of the images, pixels in [0, 1], by which the detector normalizes.
        std: standard deviation of the same.
        options: further options of torchvision's `MaskRCNN`, such as `rpn_batch_size_per_image`.
    """
    with Extra("data"):
        from torchvision.models.detection import MaskRCNN
        from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

    masks = {
        "mask_roi_pool": _regions(backbone, 14),
        "mask_head": MaskRCNNHeads(channels, [channels] * mask_convolutions, 1),
        "mask_predictor": MaskRCNNPredictor(channels, channels, num_classes),
    }
    defaults = _on_images(backbone, size, mean, std) | _on_regions(backbone, num_classes, channels, hidden) | masks
    return _labelled(MaskRCNN(pyramid(backbone, channels), None, **(defaults | options)))


def _labelled(detector: D) -> D:
    label_blocks(detector)
    return detector


def _on_images(backbone: Backbone, size: int, mean: float, std: float) -> dict[str, Any]:
    """Return the options of every detector that say how images are normalized and resized.

    Raises:
        ValueError: if `size` is no multiple of 32, to which torchvision pads every batch.
    """
    if size % 32:
        raise ValueError(
            f"size must be a multiple of 32, got {size}: the detectors pad every batch to such a size, and what they "
            f"add costs as much as the image; give {size // 32 * 32 + 32}."
        )
    colours = {"image_mean": [mean] * backbone.in_channels, "image_std": [std] * backbone.in_channels}
    return colours | {"min_size": size, "max_size": size, "_skip_resize": True}


def _on_regions(backbone: Backbone, num_classes: int, channels: int, hidden: int) -> dict[str, Any]:
    """Return the options of detectors in two stages: anchors, heads, and few regions for an image of few objects."""
    with Extra("data"):
        from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead

    return {
        "rpn_anchor_generator": _anchors([(ANCHOR * grid.stride,) for grid in backbone.grids], RATIOS),
        "box_roi_pool": _regions(backbone, 7),
        "box_head": TwoMLPHead(channels * 7**2, hidden),
        "box_predictor": FastRCNNPredictor(hidden, num_classes),
        "rpn_post_nms_top_n_train": 32,
        "rpn_post_nms_top_n_test": 32,
        "rpn_batch_size_per_image": 32,
        "box_batch_size_per_image": 16,
        "box_positive_fraction": 0.5,
    }


def _anchors(sides: Sequence[tuple[int, ...]], ratios: tuple[float, ...]) -> AnchorGenerator:
    """Return the anchors of these sides, in pixels of the image, for each map."""
    with Extra("data"):
        from torchvision.models.detection.anchor_utils import AnchorGenerator

    sizes: Any = tuple(sides)  # the default of torchvision's argument has one size, so its type is taken for that
    return AnchorGenerator(sizes, (ratios,) * len(sides))


def _regions(backbone: Backbone, side: int) -> MultiScaleRoIAlign:
    """Return the layer that cuts a region out of a map, as `side`×`side` pixels."""
    with Extra("data"):
        from torchvision.ops import MultiScaleRoIAlign

    return MultiScaleRoIAlign([str(number) for number in range(len(backbone.grids))], side, sampling_ratio=2)
