"""A scene depends only on the settings and its index, and shows at least one object at any size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from odenet.data import SceneBatch, Scenes
from odenet.data.scenes.scenes import one_label_split

FIELDS = ("images", "owners", "classes")


def same(first: SceneBatch, second: SceneBatch) -> bool:
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in FIELDS)


@pytest.mark.parametrize("size", [(64, 64), (7, 9), (1, 1), (13, 50), (50, 13), (1, 31)])
def test_a_scene_is_the_same_bit_for_bit_in_whatever_batch_it_is_drawn(size: tuple[int, int]) -> None:
    scenes = Scenes(size, seed=3, objects=(1, 4), clutter=(0, 2))
    whole = scenes.draw(range(100))
    chosen = [70, 3, 3, 99, 64]
    part = scenes.draw(chosen)
    for name in FIELDS:
        assert torch.equal(getattr(part, name), getattr(whole, name)[chosen])
    assert same(scenes.draw([0]), Scenes(size, seed=3, objects=(1, 4), clutter=(0, 2)).draw([0]))


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 2), (4, 3), (8, 8), (64, 64)])
def test_every_scene_shows_an_object_and_so_has_a_label_however_few_pixels_there_are(size: tuple[int, int]) -> None:
    batch = Scenes(size, clutter=(3, 3)).draw(range(200))
    assert int(batch.areas.amax(1).min()) >= 1
    assert int(batch.label.min()) >= 0
    assert int(batch.labels.sum(1).min()) >= 1
    assert (batch.labels.gather(1, batch.label[:, None]) == 1).all()
    assert batch.images.shape == (200, 3, *size)


def test_a_scene_of_one_pixel_is_its_front_most_object() -> None:
    batch = Scenes((1, 1)).draw(range(50))
    assert torch.equal(batch.semantic[:, 0, 0], batch.label + 1)
    assert (batch.labels.sum(1) == 1).all()
    assert torch.equal(batch.boxes.sum(1), torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(50, 4))


def test_seeds_and_parts_have_different_scenes() -> None:
    scenes = Scenes((16, 16))
    others = [scenes, replace(scenes, seed=1), replace(scenes, part="test"), replace(scenes, seed=1, part="test")]
    images = torch.cat([other.draw(range(20)).images for other in others])
    assert len(images.flatten(1).unique(dim=0)) == 80


def test_a_scene_has_as_many_objects_as_its_settings_say() -> None:
    hidden = Scenes((64, 64), objects=(2, 4)).draw(range(200))
    seen = (hidden.classes >= 0).sum(1)
    assert seen.unique().tolist()[-3:] == [2, 3, 4]
    assert hidden.classes.shape == (200, 4)
    assert (Scenes((64, 64), objects=(1, 1)).draw(range(50)).classes >= 0).all()


def test_the_four_classes_are_about_equally_often_the_label() -> None:
    counts = Scenes((32, 32)).draw(range(1000)).label.bincount(minlength=4)
    assert 170 < int(counts.min()) < int(counts.max()) < 330


def test_the_same_scene_at_another_resolution_shows_the_same_things() -> None:
    small, large = (Scenes((side, side)).draw(range(100)) for side in (32, 96))
    agree = small.semantic == large.semantic[:, 1::3, 1::3]
    assert float(agree.float().mean()) > 0.9
    assert torch.equal(small.classes[:, -1], large.classes[:, -1])


def test_clutter_hides_objects_and_belongs_to_no_class() -> None:
    bare, full = (Scenes((32, 32), objects=(4, 4), clutter=(n, 6)).draw(range(40)) for n in (0, 6))
    assert int(full.areas.sum()) < int(bare.areas.sum())
    assert int(full.owners.max()) == 4


def test_no_scene_is_an_empty_batch() -> None:
    assert Scenes((8, 6)).draw([]).images.shape == (0, 3, 8, 6)


def test_a_split_of_scenes_has_their_labels() -> None:
    split = one_label_split(Scenes((9, 9)), 20)
    batch = Scenes((9, 9)).draw(range(20))
    assert torch.equal(split.images, batch.images)
    assert torch.equal(split.labels, batch.label)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_an_accelerator_draws_the_scenes_of_the_cpu() -> None:
    scenes = Scenes((48, 64))
    here, there = scenes.draw(range(50)), scenes.to("cuda").draw(range(50))
    assert there.images.is_cuda
    assert float((here.owners != there.owners.cpu()).float().mean()) < 1e-3
    assert float((here.images.int() - there.images.cpu().int()).abs().gt(1).float().mean()) < 1e-3


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"objects": (0, 3)}, ValueError, r"objects\[0\] must be .*, got 0: a scene without an object has no label"),
        ({"objects": (3, 2)}, ValueError, r"objects\[1\] must be .*, got 2: it is the largest number"),
        ({"objects": (1, 256)}, ValueError, r"objects\[1\] must be a whole number from 1 to 255, got 256"),
        ({"clutter": (-1, 2)}, ValueError, r"clutter\[0\] must be a whole number of at least ., got -1"),
        ({"size": (0, 5)}, ValueError, "size must be .*, got 0: a scene has at least one pixel each way"),
        ({"size": (5.0, 5)}, TypeError, r"size\[0\] must be a whole number, got 5\.0"),
        ({"seed": -1}, ValueError, "seed must be .*, got -1: a seed is an unsigned number"),
        ({"seed": 0.5}, TypeError, r"seed must be a whole number, got 0\.5"),
        ({"smallest": 1.0}, ValueError, r"smallest must be .* less than 1, got 1\.0: it is the share of"),
        ({"smallest": float("nan")}, ValueError, "smallest must be at least 0 and less than 1, got nan"),
        ({"part": "validation"}, ValueError, "unknown part 'validation'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Scenes(**settings)
