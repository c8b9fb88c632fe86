"""Detectors on flows: torchvision's heads on a pyramid over the maps of any backbone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from odenet import (
    RK4,
    AsynchronousLeapfrog,
    BasicBranch,
    Checkpointed,
    ContinuousAdjoint,
    Euler,
    FixedSteps,
    Midpoint,
    Mixed,
    ODEBlock,
    PiecewiseLinear,
    Reversible,
    StochasticDepth,
    configure,
)
from odenet.blocks.branches import group_norm
from odenet.measure import count_parameters
from odenet.models import (
    Pyramid,
    backbone_of,
    cifar_resnet,
    faster_rcnn,
    fcos,
    mask_rcnn,
    plain_backbone,
    pyramid,
    retinanet,
)
from odenet.models.fcn_trunks import Backbone

DETECTORS: dict[str, Any] = {"fcos": fcos, "retinanet": retinanet, "faster_rcnn": faster_rcnn, "mask_rcnn": mask_rcnn}


def small_backbone(maps: int = 3, **options: Any) -> Backbone:
    return backbone_of(cifar_resnet(2, widths=(4, 6, 8, 8), stem_stride=2, activation="pre", **options), maps)


def small(name: str, backbone: Backbone | None = None, **options: Any) -> Any:
    torch.manual_seed(0)
    return DETECTORS[name](backbone or small_backbone(), 3, size=32, channels=32 if name == "fcos" else 8, **options)


def batch() -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Two images, the second one without an object."""
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(2, 32, 32, dtype=torch.uint8)
    masks[0, 4:20, 2:30], masks[1, 24:, 8:16] = 1, 1
    boxes = torch.tensor([[2.0, 4, 30, 20], [8, 24, 16, 32]])
    full = {"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": masks}
    return images, [full, {name: value[:0] for name, value in full.items()}]


def gradients(detector: nn.Module) -> dict[str, Tensor]:
    torch.manual_seed(1)  # a detector of two stages draws the regions that it learns from
    images, targets = batch()
    precision = next(detector.parameters()).dtype
    targets = [target | {"boxes": target["boxes"].to(precision)} for target in targets]
    torch.stack([*detector(images.to(precision), targets).values()]).sum().backward()
    return {name: p.grad for name, p in detector.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_returns_losses_in_training_and_detections_in_evaluation(name: str) -> None:
    detector, (images, targets) = small(name), batch()
    losses = detector(images, targets)
    assert len(losses) >= 2
    assert all(loss.ndim == 0 and loss.isfinite() for loss in losses.values())
    found = detector.eval()(images)
    assert len(found) == 2
    assert {"boxes", "labels", "scores"} <= found[0].keys()
    assert ("masks" in found[0]) == (name == "mask_rcnn")


@pytest.mark.parametrize("name", DETECTORS)
def test_every_parameter_of_the_backbone_learns(name: str) -> None:
    found = gradients(detector := small(name))
    assert found.keys() >= {key for key, _ in detector.named_parameters() if key.startswith("backbone.backbone.")}


@pytest.mark.parametrize("name", DETECTORS)
def test_images_without_an_object_have_a_loss_and_a_gradient(name: str) -> None:
    detector, (images, targets) = small(name), batch()
    torch.stack([*detector(images, [targets[1], targets[1]]).values()]).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in detector.parameters())


@pytest.mark.parametrize("name", DETECTORS)
def test_a_step_teaches_a_detector_its_batch(name: str) -> None:
    detector, (images, targets) = small(name), batch()
    descent, losses = torch.optim.AdamW(detector.parameters(), 2e-3), []
    for _ in range(12):
        torch.manual_seed(0)
        losses.append(sum(detector(images, targets).values()))
        descent.zero_grad()
        losses[-1].backward()
        descent.step()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("gradient", [Checkpointed(), ContinuousAdjoint()])
def test_every_gradient_method_trains_a_detector(gradient: object) -> None:
    detector = small("fcos", small_backbone(norm=group_norm))
    expected = gradients(detector)
    detector.zero_grad()
    configure(detector, gradient=gradient)  # pyright: ignore[reportArgumentType]
    found = gradients(detector)
    assert found.keys() == expected.keys()
    if isinstance(gradient, Checkpointed):
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_detector_of_reversible_flows_has_the_gradients_of_backpropagation() -> None:
    detector = small("fcos", small_backbone(norm=group_norm)).double()
    for block in detector.modules():
        if isinstance(block, ODEBlock):
            block.stepping = FixedSteps(AsynchronousLeapfrog())
    expected = gradients(detector)
    detector.zero_grad()
    configure(detector, gradient=Reversible())
    found = gradients(detector)
    assert all(torch.allclose(found[name], expected[name], rtol=1e-6, atol=1e-9) for name in expected)


@pytest.mark.parametrize("stepping", [FixedSteps(RK4()), FixedSteps(Euler(), per_piece=2), FixedSteps(Midpoint())])
def test_the_stepping_of_a_trained_detector_can_be_changed(stepping: FixedSteps) -> None:
    detector, (images, _) = small("fcos").eval(), batch()
    before = detector.backbone(images)
    with configure(detector, stepping=stepping):
        assert any(
            not torch.equal(a, b) for a, b in zip(detector.backbone(images).values(), before.values(), strict=True)
        )
    assert all(torch.equal(a, b) for a, b in zip(detector.backbone(images).values(), before.values(), strict=True))


def test_mixed_steps_noise_and_another_theta_train() -> None:
    detector = small("fcos", small_backbone(norm=group_norm))
    configure(detector, stepping=Mixed([FixedSteps(Euler()), FixedSteps(Midpoint())]))
    blocks = [module for module in detector.modules() if isinstance(module, ODEBlock)]
    blocks[0].theta = PiecewiseLinear([BasicBranch(4, activation="pre", norm=group_norm) for _ in range(3)])
    for block in blocks[1:]:
        block.noise = StochasticDepth([0.8] * block.theta.number_of_pieces)
    assert all(value.isfinite().all() for value in gradients(detector).values())


def test_blocks_are_named_by_their_place_in_the_detector() -> None:
    labels = [module.label for module in small("fcos").modules() if isinstance(module, ODEBlock)]
    assert len(labels) == 4
    assert all(label.startswith("block 'backbone.backbone.stages.") for label in labels)


def test_the_prototype_has_as_many_parameters_as_measured() -> None:
    net = cifar_resnet(2, widths=(16, 32, 64, 64), stem_stride=2, activation="pre")
    backbone = backbone_of(net, maps=2)
    assert count_parameters(backbone) == 319_824
    assert [grid.stride for grid in backbone.grids] == [8, 16]
    assert [grid.stride for grid in backbone_of(net, maps=4).grids] == [2, 4, 8, 16]


def test_the_anchors_fit_the_strides_of_the_maps() -> None:
    detector = small("fcos", small_backbone(maps=2))
    assert detector.anchor_generator.sizes == ((8,), (16,))
    assert small("faster_rcnn").rpn.anchor_generator.sizes == ((16,), (32,), (64,))


def test_any_backbone_will_do() -> None:
    detector = small("fcos", plain_backbone([(4,), (4,), (6,), (8,)], maps=2))
    assert sorted(detector(*batch())) == ["bbox_ctrness", "bbox_regression", "classification"]


def test_a_pyramid_names_its_maps_and_has_one_width() -> None:
    maps = pyramid(small_backbone(), 8)(torch.rand(1, 3, 32, 32))
    assert [(name, tuple(value.shape)) for name, value in maps.items()] == [
        ("0", (1, 8, 8, 8)),
        ("1", (1, 8, 4, 4)),
        ("2", (1, 8, 2, 2)),
    ]
    assert Pyramid(small_backbone(), pyramid(small_backbone(), 8).fpn).out_channels == 8


def test_options_go_to_torchvision_and_replace_defaults() -> None:
    detector = small("mask_rcnn", box_detections_per_img=7, rpn_batch_size_per_image=11)
    assert detector.roi_heads.detections_per_img == 7
    assert detector.rpn.fg_bg_sampler.batch_size_per_image == 11


def test_channels_that_32_groups_cannot_share_are_refused() -> None:
    with pytest.raises(ValueError, match=r"channels must be a multiple of 32, got 40: .*; give 64"):
        fcos(small_backbone(), 3, channels=40)


def test_a_side_that_would_be_padded_is_refused() -> None:
    with pytest.raises(ValueError, match=r"size must be a multiple of 32, got 100: .*; give 128"):
        fcos(small_backbone(), 3, size=100)


def test_more_maps_than_stages_are_refused() -> None:
    with pytest.raises(ValueError, match=r"maps = 5, but the network has 4 stages that end with a map: ask"):
        small_backbone(maps=5)
    with pytest.raises(ValueError, match=r"maps = 4, but the network has 3 stages"):
        plain_backbone([(2,), (2,), (2,)], maps=4)
