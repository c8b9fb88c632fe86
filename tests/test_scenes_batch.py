"""Targets of a scene agree with torchvision and with small pictures counted by hand."""

from __future__ import annotations

import torch
from torchvision.ops import masks_to_boxes

from odenet.data import SceneBatch, Scenes
from odenet.data.scenes.batch import TARGETS

OWNERS = torch.tensor(
    [
        [[0, 0, 1, 1], [2, 2, 2, 1], [0, 0, 0, 3]],
        [[3, 3, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]],
    ],
    dtype=torch.uint8,
)


def batch(smallest: float = 0.2) -> SceneBatch:
    """Return two scenes of 3×4 pixels with up to three objects of four classes."""
    images = torch.zeros(2, 3, 3, 4, dtype=torch.uint8)
    return SceneBatch(images, OWNERS, torch.tensor([[2, 0, 3], [1, -1, 2]]), num_classes=4, smallest=smallest)


def drawn() -> SceneBatch:
    return Scenes(size=(20, 28), seed=5, objects=(1, 5), clutter=(0, 3)).draw(range(60))


def test_the_label_is_the_class_of_the_largest_and_of_equals_the_front_most() -> None:
    assert batch().areas.tolist() == [[3, 3, 1], [2, 0, 2]]
    assert batch().label.tolist() == [0, 2]


def test_labels_are_the_classes_from_the_smallest_share_on_and_the_label_always() -> None:
    assert batch(smallest=0.2).labels.tolist() == [[1, 0, 1, 0], [0, 1, 1, 0]]
    assert batch(smallest=1 / 12).labels.tolist() == [[1, 0, 1, 1], [0, 1, 1, 0]]
    assert batch(smallest=0.9).labels.tolist() == [[1, 0, 1, 0], [0, 1, 1, 0]]


def test_two_objects_of_a_class_are_one_label() -> None:
    twins = SceneBatch(batch().images, OWNERS, torch.tensor([[2, 2, 2], [1, -1, 1]]), num_classes=4, smallest=0.0)
    assert twins.labels.tolist() == [[0, 0, 1, 0], [0, 1, 0, 0]]


def test_the_semantic_mask_has_the_class_from_one_on_and_zero_for_what_has_none() -> None:
    assert batch().semantic[0].tolist() == [[0, 0, 3, 3], [1, 1, 1, 3], [0, 0, 0, 4]]
    assert batch().semantic.dtype == torch.int64


def test_boxes_are_the_edges_of_the_pixels_and_zero_for_what_is_not_seen() -> None:
    assert batch().boxes[1].tolist() == [[3, 0, 4, 2], [0, 0, 0, 0], [0, 0, 2, 1]]


def test_boxes_are_those_of_torchvision_whose_ends_are_the_last_pixels() -> None:
    scenes = drawn()
    seen = scenes.areas > 0
    theirs = masks_to_boxes(scenes.instances[seen])
    assert torch.equal(scenes.boxes[seen], theirs + torch.tensor([0.0, 0.0, 1.0, 1.0]))
    assert torch.equal(scenes.boxes[~seen], torch.zeros(int((~seen).sum()), 4))


def test_instances_are_disjoint_and_all_targets_follow_from_them() -> None:
    scenes = drawn()
    instances = scenes.instances
    assert int(instances.sum(1).max()) == 1
    assert torch.equal(instances.sum((2, 3)), scenes.areas)
    assert torch.equal((instances * (scenes.classes + 1)[:, :, None, None]).sum(1), scenes.semantic)
    for scene in range(len(scenes)):
        largest = scenes.areas[scene].max()
        counted = (scenes.areas[scene] >= scenes.smallest * 20 * 28) | (scenes.areas[scene] == largest)
        expected = sorted(set(scenes.classes[scene][counted].tolist()))
        assert scenes.labels[scene].nonzero().flatten().tolist() == expected
        assert int(scenes.label[scene]) in scenes.classes[scene][scenes.areas[scene] == largest].tolist()


def test_what_cannot_be_seen_has_no_class() -> None:
    scenes = drawn()
    assert torch.equal(scenes.classes >= 0, scenes.areas > 0)
    assert (scenes.areas == 0).any()


def test_every_target_has_a_name_and_is_of_whole_numbers() -> None:
    assert list(TARGETS) == ["label", "labels", "semantic"]
    shapes = [tuple(target(batch()).shape) for target in TARGETS.values()]
    assert shapes == [(2,), (2, 4), (2, 3, 4)]
    assert {target(batch()).dtype for target in TARGETS.values()} == {torch.int64}
