"""Targets of detectors, and the messages for bad ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from odenet.data import DetectionTargets
from odenet.data.detection_targets import fault_of_box, require_target, without_crowds


def target(*boxes: tuple[float, ...], labels: tuple[int, ...] | None = None, **more: Any) -> dict[str, Any]:
    given = torch.tensor(boxes or torch.zeros(0, 4).tolist()).reshape(-1, 4)
    return {"boxes": given, "labels": torch.tensor(labels or [1] * len(boxes), dtype=torch.int64), **more}


GOOD = target((0.0, 0, 8, 4), (1.5, 2, 3, 3))


def test_objects_that_are_right_are_accepted() -> None:
    require_target(GOOD, (4, 8), "image 0")
    require_target(GOOD | {"masks": torch.zeros(2, 4, 8, dtype=torch.uint8)}, (4, 8), "image 0")


def test_an_image_without_an_object_is_accepted() -> None:
    require_target(target(), (4, 8), "image 0")
    require_target(target() | {"masks": torch.zeros(0, 4, 8)}, (4, 8), "image 0")


@pytest.mark.parametrize(
    ("box", "fault"),
    [
        ((0.0, 0, 9, 4), "which leaves the image of 4×8 pixels"),
        ((-1.0, 0, 8, 4), "which leaves the image"),
        ((0.0, 0, 8, 4.5), "which leaves the image"),
        ((0.0, -0.5, 8, 4), "which leaves the image"),
        ((3.0, 0, 3, 4), "which has no area"),
        ((0.0, 2, 3, 2), "which has no area"),
        ((5.0, 0, 3, 4), "whose corners are in the wrong order"),
        ((0.0, 3, 3, 2), "whose corners are in the wrong order"),
        ((0.0, 0, float("nan"), 4), "which is not finite"),
        ((0.0, 0, float("inf"), 4), "which is not finite"),
    ],
)
def test_a_bad_box_is_refused_with_its_image_its_number_and_what_a_box_is(box: tuple[float, ...], fault: str) -> None:
    with pytest.raises(ValueError, match=rf"object 1 of image 7 has the box .*, {fault}.*x1 < x2 ≤ 8 and 0 ≤ y1"):
        require_target(target((0.0, 0, 8, 4), box), (4, 8), "image 7")
    assert fault in str(fault_of_box(box, (4, 8)))


def test_masks_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the masks of image 2 have the shape \(2, 4, 4\): 2 objects in an image of"):
        require_target(GOOD | {"masks": torch.zeros(2, 4, 4)}, (4, 8), "image 2")
    with pytest.raises(ValueError, match=r"shape \(1, 4, 8\): .* have masks of shape \(2, 4, 8\)"):
        require_target(GOOD | {"masks": torch.zeros(1, 4, 8)}, (4, 8), "image 2")


def test_labels_below_1_are_refused() -> None:
    with pytest.raises(ValueError, match=r"object 1 of image 0 has the label 0: labels count from 1, because 0 is the"):
        require_target(target((0.0, 0, 8, 4), (1.0, 2, 3, 3), labels=(2, 0)), (4, 8), "image 0")


def test_shapes_that_do_not_agree_are_refused() -> None:
    with pytest.raises(ValueError, match=r"boxes of shape \(2, 4\) and labels of shape \(1,\): k objects have"):
        require_target(GOOD | {"labels": torch.tensor([1])}, (4, 8), "image 0")
    with pytest.raises(ValueError, match=r"boxes of shape \(0,\)"):
        require_target({"boxes": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.int64)}, (4, 8), "image 0")


@pytest.mark.parametrize("given", [None, {"boxes": torch.zeros(0, 4)}, {"boxes": [[0, 0, 1, 1]], "labels": [1]}])
def test_what_is_no_dictionary_of_tensors_is_refused(given: object) -> None:
    with pytest.raises(TypeError, match=r"the objects of image 0 are .*: a detector takes a dictionary with"):
        require_target(given, (4, 8), "image 0")


def test_other_dtypes_are_refused() -> None:
    with pytest.raises(TypeError, match=r"boxes of torch.int64 and labels of torch.int64: pass boxes.float\(\)"):
        require_target(GOOD | {"boxes": GOOD["boxes"].long()}, (4, 8), "image 0")


def test_crowds_are_left_out_of_what_is_learned() -> None:
    crowded = GOOD | {"iscrowd": torch.tensor([1, 0])}
    assert without_crowds(crowded)["boxes"].tolist() == [[1.5, 2, 3, 3]]
    assert without_crowds(GOOD) is GOOD


def test_the_targets_of_a_split_have_a_length_and_a_device() -> None:
    split = DetectionTargets([GOOD, target()], [(4, 8), (4, 8)])
    assert len(split) == 2
    assert split.device.type == "cpu"
    assert [len(entry["labels"]) for entry in split] == [2, 0]


def test_as_many_sizes_as_targets_are_needed() -> None:
    with pytest.raises(ValueError, match=r"of_images has the targets of 1 images, and sizes has 2 entries"):
        DetectionTargets([GOOD], [(4, 8), (4, 8)])
    with pytest.raises(ValueError, match="the targets of 0 images, and sizes has 0 entries"):
        DetectionTargets([], [])
