"""Batches of scenes with the objects in them."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import masks_to_boxes

from odenet.data import ObjectBatches, SceneBatch, SceneBatches, Scenes
from odenet.data.detection_targets import require_target
from odenet.data.scenes.objects import targets_of
from odenet.training import Detection, fingerprint

SCENES = Scenes(size=(24, 32), objects=(1, 4))


def test_images_are_those_of_the_scenes_in_0_to_1() -> None:
    batches = ObjectBatches(SCENES, 6, 3)
    images = torch.cat([images for images, _ in batches.epoch(0)])
    assert torch.equal(images, SCENES.draw(range(6)).images.float() / 255)


def test_targets_are_right_for_every_scene() -> None:
    batch = SCENES.draw(range(50))
    targets = targets_of(batch)
    assert len(targets) == 50
    for place, target in enumerate(targets):
        require_target(target, (24, 32), f"image {place}")
        seen = batch.classes[place] >= 0
        assert torch.equal(target["labels"], batch.classes[place][seen] + 1)
        assert torch.equal(target["masks"], batch.instances[place][seen])
        edges = masks_to_boxes(target["masks"]) + torch.tensor([0, 0, 1, 1])
        assert torch.equal(target["boxes"], edges)


def test_hidden_objects_are_left_out_wherever_they_stand() -> None:
    owners = torch.tensor([[[2, 0], [0, 4]], [[0, 0], [0, 0]]], dtype=torch.uint8)
    classes = torch.tensor([[-1, 3, -1, 0], [-1, -1, -1, -1]])
    batch = SceneBatch(torch.zeros(2, 3, 2, 2, dtype=torch.uint8), owners, classes, 4, 0.005)
    first, second = targets_of(batch)
    assert first["labels"].tolist() == [4, 1]
    assert first["boxes"].tolist() == [[0, 0, 1, 1], [1, 1, 2, 2]]
    assert {name: tuple(value.shape) for name, value in second.items()} == {
        "boxes": (0, 4),
        "labels": (0,),
        "masks": (0, 2, 2),
    }


def test_masks_are_left_out_unless_they_are_asked_for() -> None:
    assert sorted(next(ObjectBatches(SCENES, 2, 2).epoch(0))[1][0]) == ["boxes", "labels"]
    assert "masks" in next(ObjectBatches(SCENES, 2, 2, masks=True).epoch(0))[1][0]


@pytest.mark.parametrize("fresh", [True, False])
def test_a_batch_is_a_function_of_epoch_and_index(fresh: bool) -> None:
    batches = ObjectBatches(SCENES, 6, 2, fresh=fresh, masks=True)
    whole = list(batches.epoch(1))
    assert fingerprint(whole[2]) == fingerprint(next(batches.epoch(1, 2)))
    assert (fingerprint(whole) == fingerprint(list(batches.epoch(2)))) != fresh


def test_fresh_scenes_are_those_that_other_tasks_see() -> None:
    images = next(ObjectBatches(SCENES, 4, 4, fresh=True).epoch(1))[0]
    others = next(SceneBatches(SCENES, 4, 4, fresh=True).epoch(1))[0]
    torch.testing.assert_close((images - 0.5) / 0.25, others)


def test_processes_share_a_batch() -> None:
    whole = next(ObjectBatches(SCENES, 4, 4).epoch(0))
    shares = [next(ObjectBatches(SCENES, 4, 4, rank=rank, world_size=2).epoch(0)) for rank in range(2)]
    assert torch.equal(whole[0], torch.cat([images for images, _ in shares]))
    assert fingerprint(whole[1]) == fingerprint(shares[0][1] + shares[1][1])


@pytest.mark.parametrize(("fresh", "number"), [(False, 6), (True, 4)])
def test_the_split_has_the_objects_of_the_scenes_which_the_task_accepts(fresh: bool, number: int) -> None:
    labels = ObjectBatches(SCENES, 6, 4, fresh=fresh).split.labels
    assert len(labels) == number
    Detection(SCENES.classes).check(labels)
    with pytest.raises(ValueError, match=r"object \d of image \d+ has the label [34]: there are 2 classes, numbered"):
        Detection(("a", "b")).check(labels)
