"""Average precision under the names that tables show."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest
import torch

from odenet.training.detection_metric import ObjectPrecision

TRUE = {"boxes": torch.tensor([[0.0, 0, 10, 10], [20, 20, 60, 60]]), "labels": torch.tensor([1, 2])}
NOTHING = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}


def found(target: dict[str, Any], scores: list[float]) -> dict[str, Any]:
    return target | {"scores": torch.tensor(scores)}


def value_of(outputs: list[Any], targets: list[Any], masks: bool = False) -> dict[str, float]:
    metric = ObjectPrecision(("horse", "person", "church"), masks=masks)
    metric.update(outputs, targets)
    return {name: float(value) for name, value in metric.compute().items()}


def test_everything_that_is_found_has_precision_1_and_what_is_not_there_nan() -> None:
    values = value_of([found(TRUE, [0.9, 0.8])], [TRUE])
    assert {name for name, value in values.items() if value == pytest.approx(1)} == {
        *("mAP", "AP50", "AP75", "AP small", "AP medium", "AP horse", "AP person"),
    }
    assert {name for name, value in values.items() if math.isnan(value)} == {"AP large", "AP church"}


def test_nothing_found_has_precision_0() -> None:
    assert value_of([found(NOTHING, [])], [TRUE])["mAP"] == 0


def test_only_images_without_an_object_have_no_precision() -> None:
    assert all(math.isnan(value) for value in value_of([found(NOTHING, [])], [NOTHING]).values())


def test_a_box_moved_by_a_fifth_counts_at_the_lower_thresholds() -> None:
    """Intersection over union 8/12: found at 0.5, 0.55, 0.6 and 0.65, and not at six higher thresholds."""
    moved = found({"boxes": torch.tensor([[2.0, 0, 12, 10]]), "labels": torch.tensor([1])}, [0.9])
    values = value_of([moved], [{"boxes": TRUE["boxes"][:1], "labels": TRUE["labels"][:1]}])
    assert values["AP50"] == pytest.approx(1)
    assert values["AP75"] == 0
    assert values["mAP"] == pytest.approx(0.4)


def test_a_false_alarm_of_higher_score_halves_the_precision() -> None:
    boxes = torch.tensor([[40.0, 0, 50, 10], [0, 0, 10, 10]])
    both = found({"boxes": boxes, "labels": torch.tensor([1, 1])}, [0.9, 0.8])
    values = value_of([both], [{"boxes": TRUE["boxes"][:1], "labels": TRUE["labels"][:1]}])
    assert values["AP50"] == pytest.approx(0.5)


def test_what_is_found_in_a_crowd_does_not_count() -> None:
    crowd = TRUE | {"iscrowd": torch.tensor([0, 1])}
    boxes = torch.tensor([[22.0, 22, 30, 30], [40, 40, 50, 50], [0, 0, 10, 10]])
    many = found({"boxes": boxes, "labels": torch.tensor([2, 2, 1])}, [0.9, 0.9, 0.8])
    assert value_of([many], [crowd])["mAP"] == pytest.approx(1)


def test_masks_are_compared_at_the_probability_one_half() -> None:
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, :10, :10], masks[1, 20:60, 20:60] = True, True
    soft = torch.where(masks, 0.6, 0.4)[:, None]
    values = value_of([found(TRUE, [0.9, 0.8]) | {"masks": soft}], [TRUE | {"masks": masks}], masks=True)
    assert values["mask mAP"] == pytest.approx(1)
    assert values["mask AP person"] == pytest.approx(1)
    halved = masks.clone()
    halved[:, :, 1::2] = False
    striped = found(TRUE, [0.9, 0.8]) | {"masks": halved.float()[:, None]}
    values = value_of([striped], [TRUE | {"masks": masks}], masks=True)
    assert values["mAP"] == pytest.approx(1)
    assert values["mask AP75"] == 0


@pytest.mark.parametrize("which", ["scores", "boxes"])
def test_scores_and_boxes_that_are_not_finite_are_refused_with_their_image(which: str) -> None:
    bad = found(TRUE, [0.9, 0.8])
    bad[which] = torch.full_like(bad[which], torch.nan)
    with pytest.raises(ValueError, match=r"objects in image 1 of a batch whose boxes or scores are not finite"):
        value_of([found(TRUE, [0.9, 0.8]), bad], [TRUE, TRUE])


def test_a_machine_without_faster_coco_eval_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("faster_coco_eval")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    monkeypatch.setattr("torchmetrics.detection.helpers._FASTER_COCO_EVAL_AVAILABLE", False, raising=False)
    monkeypatch.setattr("torchmetrics.detection.mean_ap._FASTER_COCO_EVAL_AVAILABLE", False)
    monkeypatch.setattr("torchmetrics.detection.mean_ap._PYCOCOTOOLS_AVAILABLE", False)
    with pytest.raises(ModuleNotFoundError, match=r"needs faster-coco-eval, which is not installed: install it with"):
        ObjectPrecision(("a",), masks=False)
