"""torchvision's detectors as detectors on flows, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import detection, resnet18
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from odenet import FixedSteps, Midpoint, ODEBlock, configure, refine_steps, refine_theta
from odenet.measure import count_parameters
from odenet.models import (
    backbone_of,
    cifar_resnet,
    detector_from_torchvision,
    detector_to_torchvision,
    fasterrcnn_resnet50_fpn,
    fcos,
    fcos_resnet50_fpn,
    maskrcnn_resnet50_fpn,
    retinanet_resnet50_fpn,
)

NAMES = ("fcos_resnet50_fpn", "retinanet_resnet50_fpn", "fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn")
OURS: dict[str, Callable[..., Any]] = {
    "fcos_resnet50_fpn": fcos_resnet50_fpn,
    "retinanet_resnet50_fpn": retinanet_resnet50_fpn,
    "fasterrcnn_resnet50_fpn": fasterrcnn_resnet50_fpn,
    "maskrcnn_resnet50_fpn": maskrcnn_resnet50_fpn,
}
CLASSES = {
    "fcos_resnet50_fpn": detection.FCOS,
    "retinanet_resnet50_fpn": detection.RetinaNet,
    "fasterrcnn_resnet50_fpn": detection.FasterRCNN,
    "maskrcnn_resnet50_fpn": detection.MaskRCNN,
}
PARAMETERS: dict[str, int] = dict(zip(NAMES, (32_269_600, 34_014_999, 41_755_286, 44_401_393), strict=True))
"""Numbers of parameters that torchvision states for its weights on COCO, whose normalizations are frozen."""


def frozen(model: nn.Module) -> Any:
    """The model with frozen normalizations with statistics and weights drawn at random, as if it had been trained."""
    generator = torch.Generator().manual_seed(0)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            norm = FrozenBatchNorm2d(module.num_features)
            for value in norm.buffers():
                value.copy_(torch.rand(value.shape, generator=generator) * 0.2 + 0.9)
            model.set_submodule(name, norm)
    return model


def small(name: str, layers: tuple[int, ...] = (1, 2, 3, 4), **options: Any) -> Any:
    """A detector on ResNet-18, which takes less time than the published one."""
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, trainable_layers=5, returned_layers=list(layers), **options
    )
    if "rcnn" in name:
        given: dict[str, Any] = {"box_score_thresh": 0.0, "box_detections_per_img": 10}
    else:
        sides: Any = tuple((8 * 2**k,) for k in range(len(layers) + 1))
        ratios = (1.0,) if "fcos" in name else (0.5, 1.0, 2.0)
        given = {"score_thresh": 0.0, "anchor_generator": AnchorGenerator(sides, (ratios,) * len(sides))}
    return CLASSES[name](backbone, 5, min_size=64, max_size=64, **given)


def batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    images = [torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(k)) for k in range(2)]
    masks = torch.zeros(1, 64, 64, dtype=torch.uint8)
    masks[0, 8:40, 4:60] = 1
    target = {"boxes": torch.tensor([[4.0, 8, 60, 40]]), "labels": torch.tensor([3]), "masks": masks}
    return images, [target, target]


@pytest.mark.parametrize("name", NAMES)
def test_the_published_detectors_have_the_stated_parameters_equal_maps_and_go_back(name: str) -> None:
    torch.manual_seed(0)
    theirs = frozen(getattr(detection, name)(weights_backbone=None)).eval()
    ours = detector_from_torchvision(theirs)
    assert type(ours) is CLASSES[name]
    assert count_parameters(ours) == count_parameters(theirs) == PARAMETERS[name]
    assert sum(isinstance(module, ODEBlock) for module in ours.modules()) == 4
    x = torch.rand(1, 3, 64, 96)
    maps, expected = ours.backbone(x), theirs.backbone(x)
    assert list(maps) == list(expected)
    assert all(torch.equal(maps[key], expected[key]) for key in expected)
    back = frozen(getattr(detection, name)(weights_backbone=None))
    back.load_state_dict(detector_to_torchvision(ours), strict=True)
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in back.state_dict().items())


@pytest.mark.parametrize(("name", "layers"), [*((name, (1, 2, 3, 4)) for name in NAMES), (NAMES[0], (2, 3, 4))])
def test_losses_gradients_and_detections_are_equal(name: str, layers: tuple[int, ...]) -> None:
    theirs = small(name, layers, norm_layer=nn.BatchNorm2d)
    ours = detector_from_torchvision(theirs)
    results = []
    for detector in (theirs, ours):
        torch.manual_seed(1)
        losses = detector(*batch())
        torch.stack([*losses.values()]).sum().backward()
        first = next(iter(detector.parameters())).grad
        found = detector.eval()(batch()[0])
        results.append((losses, first, found))
    (losses, first, found), (our_losses, our_first, our_found) = results
    assert losses.keys() == our_losses.keys()
    assert all(torch.equal(losses[key], our_losses[key]) for key in losses)
    torch.testing.assert_close(our_first, first, rtol=1e-3, atol=1e-4)
    assert len(found[0]["boxes"]) > 0
    assert all(torch.equal(a[key], b[key]) for a, b in zip(found, our_found, strict=True) for key in a)


def test_a_converted_detector_shares_nothing_and_keeps_modes_and_frozen_parameters() -> None:
    theirs = small("fcos_resnet50_fpn")
    theirs.backbone.body.conv1.weight.requires_grad_(False)
    theirs.eval()
    ours = detector_from_torchvision(theirs)
    assert not any(module.training for module in ours.modules())
    assert [p.requires_grad for p in ours.backbone.parameters()].count(False) == 1
    pointers = {p.data_ptr() for p in theirs.parameters()}
    assert not pointers & {p.data_ptr() for p in ours.parameters()}


def test_the_stepping_of_a_converted_detector_can_be_changed_but_then_it_cannot_go_back() -> None:
    ours = detector_from_torchvision(small("fcos_resnet50_fpn"))
    configure(ours, stepping=FixedSteps(Midpoint()))
    with pytest.raises(ValueError, match=r"stages.0.flow is a flow stepped by FixedSteps\(Midpoint\(\)"):
        detector_to_torchvision(ours)


def test_a_refined_detector_goes_back_to_torchvision() -> None:
    ours = detector_from_torchvision(small("fcos_resnet50_fpn")).eval()
    refined = refine_theta(refine_steps(ours))
    state = detector_to_torchvision(refined)
    blocks = {key.split(".")[3] for key in state if key.startswith("backbone.body.layer1.")}
    assert blocks == {"0", "1", "2", "3"}


def test_our_constructor_takes_torchvisions_options_and_downloads_nothing() -> None:
    with torch.device("meta"):
        ours = OURS["fcos_resnet50_fpn"](num_classes=7, score_thresh=0.5)
    assert ours.score_thresh == 0.5
    assert ours.head.classification_head.num_classes == 7


@pytest.mark.parametrize("name", NAMES)
def test_each_constructor_makes_the_detector_of_its_name(name: str) -> None:
    with torch.device("meta"):
        assert type(OURS[name]()) is CLASSES[name]


def test_what_is_no_detector_is_refused() -> None:
    with pytest.raises(TypeError, match=r"detector_from_torchvision was given a ResNet; it converts torchvision's"):
        detector_from_torchvision(resnet18())  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"detector_to_torchvision was given a ResNet; .* use from_torchvision and"):
        detector_to_torchvision(resnet18())  # pyright: ignore[reportArgumentType]


def test_a_detector_on_another_backbone_is_refused() -> None:
    backbone = backbone_of(cifar_resnet(1, widths=(2, 3, 4), activation="pre"))
    with pytest.raises(ValueError, match=r"given a FCOS on a Pyramid; only a ResNet of torchvision with a feature"):
        detector_from_torchvision(fcos(backbone, 2, channels=32))
    with pytest.raises(ValueError, match=r"on a Pyramid that is not a ResNet of four stages: torchvision has no"):
        detector_to_torchvision(fcos(backbone, 2, channels=32))


def test_a_resnet_that_ends_early_is_refused() -> None:
    with pytest.raises(ValueError, match=r"whose ResNet lacks layer4; the maps that it returns end with an earlier"):
        detector_from_torchvision(small("fcos_resnet50_fpn", (1, 2, 3)))
