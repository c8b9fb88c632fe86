"""The task of a detector, in the one loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from odenet import ODEBlock
from odenet.data import DetectionTargets, ObjectBatches, Scenes
from odenet.models import backbone_of, cifar_resnet, fcos, mask_rcnn
from odenet.training import Classification, Detection, Training, evaluate, fit
from odenet.training.saved_models import load_model, save_model
from tests.training_cases import without_clock

SCENES = Scenes(size=(32, 32), clutter=(0, 0))
TASK = Detection(SCENES.classes)
SETTINGS = Training(epochs=2, batch_size=4, optimizer="adamw", lr=1e-3, device="cpu", threads=1, checkpoint_seconds=0)


def detector(masks: bool = False) -> nn.Module:
    torch.manual_seed(0)
    backbone = backbone_of(cifar_resnet(2, widths=(4, 6, 8), stem_stride=2, activation="pre"), maps=2)
    if masks:
        return mask_rcnn(backbone, 5, size=32, channels=8, hidden=8, box_detections_per_img=5)
    return fcos(backbone, 5, size=32, channels=32, convolutions=1)


def batches(masks: bool = False, **options: Any) -> ObjectBatches:
    return ObjectBatches(SCENES, 8, 4, masks=masks, **options)


@pytest.mark.parametrize("masks", [False, True])
def test_a_training_has_rows_with_losses_and_precisions_but_no_score_of_training(tmp_path: Path, masks: bool) -> None:
    task = Detection(SCENES.classes, masks=masks)
    history = fit(
        detector(masks), task, batches(masks, fresh=True), batches(masks), SETTINGS, seed=0, folder=tmp_path, quiet=True
    )
    assert len(history.rows) == 2
    assert "train_mAP" not in history.rows[0]
    assert "test_loss" not in history.rows[0]
    assert {"train_loss", "test_mAP", "test_AP50", "test_AP horse"} <= history.rows[0].keys()
    assert ("test_mask mAP" in history.rows[0]) == masks


@pytest.mark.parametrize("masks", [False, True])
def test_an_interrupted_training_is_resumed_bit_for_bit(tmp_path: Path, masks: bool) -> None:
    """A detector of two stages draws the regions that it learns from by torch's generator."""
    task, whole = Detection(SCENES.classes, masks=masks), detector(masks)
    options: dict[str, Any] = {"seed": 0, "quiet": True}
    expected = fit(whole, task, batches(masks, fresh=True), None, SETTINGS, folder=tmp_path / "a", **options)

    class Killed(ObjectBatches):
        def epoch(self, epoch: int, start: int = 0) -> Any:
            for number, batch in enumerate(super().epoch(epoch, start), start):
                if (epoch, number) == (1, 1):
                    raise KeyboardInterrupt
                yield batch

    Killed.__qualname__, Killed.__module__ = ObjectBatches.__qualname__, ObjectBatches.__module__
    killed = Killed(SCENES, 8, 4, masks=masks, fresh=True)
    with pytest.raises(KeyboardInterrupt):
        fit(detector(masks), task, killed, None, SETTINGS, folder=tmp_path / "b", **options)
    resumed = detector(masks)
    found = fit(resumed, task, batches(masks, fresh=True), None, SETTINGS, folder=tmp_path / "b", **options)
    assert without_clock(found.rows) == without_clock(expected.rows)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items())


def test_compile_compiles_the_flows_of_a_detector_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    net = detector()
    block = next(module for module in net.modules() if isinstance(module, ODEBlock))
    monkeypatch.setattr(ODEBlock, "forward", lambda self, x: seen.append(bool(self.compiled)) or x)
    settings = replace(SETTINGS, epochs=1, compile=True)
    fit(net, TASK, batches(), None, settings, seed=0, folder=tmp_path, quiet=True)
    assert seen
    assert all(seen)
    assert not block.compiled


def test_evaluation_leaves_the_modes_and_has_no_loss() -> None:
    net = detector()
    values = evaluate(net, TASK, batches())
    assert net.training
    assert "loss" not in values
    assert set(values) >= {"mAP", "AP50", "AP75", "AP small", "AP medium", "AP large", "AP person"}


def test_the_loss_is_the_sum_of_the_losses() -> None:
    assert TASK.loss({"a": torch.tensor(1.5), "b": torch.tensor(2.0)}, []) == 3.5
    assert TASK.score({"a": torch.tensor(1.5)}, []).isnan()


def test_the_loss_in_evaluation_mode_is_refused_with_what_to_do() -> None:
    images, targets = next(batches().epoch(0))
    found = TASK.outputs(detector().eval(), images, targets)
    with pytest.raises(ValueError, match=r"in evaluation mode was asked for \(list\); .* in training mode only: call"):
        TASK.loss(found, targets)


def test_crowds_are_not_learned() -> None:
    class Spy(nn.Module):
        def forward(self, images: Any, targets: Any) -> Any:
            return [len(target["boxes"]) for target in targets]

    images, targets = next(batches().epoch(0))
    crowded = [target | {"iscrowd": torch.ones_like(target["labels"])} for target in targets]
    assert TASK.outputs(Spy(), images, crowded) == [0] * 4
    assert TASK.outputs(Spy(), images, targets) == [len(target["boxes"]) for target in targets]


def test_masks_that_are_missing_are_refused() -> None:
    images, targets = next(batches().epoch(0))
    with pytest.raises(ValueError, match=r"the targets of image 0 of a batch have no masks, and the task Detection"):
        Detection(SCENES.classes, masks=True).outputs(detector(masks=True), images, targets)


def test_a_bad_box_is_refused_before_the_training(tmp_path: Path) -> None:
    class Bad(ObjectBatches):
        @property
        def split(self) -> Any:
            split = super().split
            split.labels.of_images[3]["boxes"][0, 2] = 99
            return split

    bad = Bad(SCENES, 8, 4)
    with pytest.raises(ValueError, match=r"object 0 of image 3 has the box .*99.*, which leaves the image of 32×32"):
        fit(detector(), TASK, bad, None, SETTINGS, seed=0, folder=tmp_path, quiet=True)


def test_targets_of_another_task_are_refused_by_both(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"must be DetectionTargets, got Tensor: each image has a dictionary of boxes"):
        TASK.check(torch.zeros(3))  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="targets"):
        fit(detector(), Classification(4), batches(), None, SETTINGS, seed=0, folder=tmp_path, quiet=True)


def test_images_without_objects_can_be_trained_on_and_tested() -> None:
    images, targets = next(batches().epoch(0))
    empty = [{name: value[:0] for name, value in target.items()} for target in targets]
    TASK.check(DetectionTargets(empty, [(32, 32)] * 4))
    TASK.loss(TASK.outputs(detector(), images, empty), empty).backward()


def make_detector() -> nn.Module:
    return detector()


def test_a_detector_is_saved_with_its_settings_and_read_again(tmp_path: Path) -> None:
    net = detector().eval()
    save_model(net, tmp_path / "net.safetensors", make_detector, names={"make_detector": make_detector})
    again = load_model(tmp_path / "net.safetensors", names={"make_detector": make_detector})
    images, _ = next(batches().epoch(0))
    maps, expected = again.backbone(images), net.backbone(images)  # pyright: ignore[reportCallIssue]
    assert all(torch.equal(maps[name], expected[name]) for name in expected)
