"""Batches of scenes are functions of (scenes, epoch, index), whether scenes are fixed or fresh."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from odenet.data import SceneBatches, Scenes

SCENES = Scenes((6, 10), seed=2)


def batches(count: int = 22, batch_size: int = 8, **options: Any) -> SceneBatches:
    return SceneBatches(SCENES, count, batch_size, **options)


def joined(parts: Any) -> tuple[Tensor, Tensor]:
    images, targets = zip(*parts, strict=True)
    return torch.cat(images), torch.cat(targets)


def test_images_are_normalised_and_targets_are_those_of_the_scenes() -> None:
    drawn = SCENES.draw(range(22))
    for target in ("label", "labels", "semantic"):
        images, targets = joined(batches(target=target).epoch(0))
        torch.testing.assert_close(images, (drawn.images / 255 - 0.5) / 0.25)
        assert torch.equal(targets, getattr(drawn, target))


def test_fixed_scenes_are_the_same_in_every_epoch_and_fresh_ones_never() -> None:
    fixed, fresh = batches(), batches(fresh=True)
    assert torch.equal(joined(fixed.epoch(0))[0], joined(fixed.epoch(3))[0])
    images = torch.cat([joined(fresh.epoch(epoch))[0] for epoch in range(3)])
    assert len(images.flatten(1).unique(dim=0)) == 66


def test_a_fresh_epoch_is_the_next_stretch_of_scenes() -> None:
    images, labels = joined(batches(fresh=True).epoch(2))
    drawn = SCENES.draw(range(44, 66))
    torch.testing.assert_close(images, (drawn.images / 255 - 0.5) / 0.25)
    assert torch.equal(labels, drawn.label)


@pytest.mark.parametrize("fresh", [True, False])
def test_an_epoch_resumed_in_the_middle_goes_on_with_the_same_batches(fresh: bool) -> None:
    whole = list(batches(fresh=fresh).epoch(1))
    assert len(whole) == len(batches()) == 3
    for start in range(4):
        for (x, y), (again_x, again_y) in zip(whole[start:], batches(fresh=fresh).epoch(1, start), strict=True):
            assert torch.equal(x, again_x)
            assert torch.equal(y, again_y)


@pytest.mark.parametrize("fresh", [True, False])
def test_the_shares_of_all_processes_joined_are_the_batches_of_one(fresh: bool) -> None:
    ranks = [batches(fresh=fresh, rank=rank, world_size=4).epoch(1) for rank in range(4)]
    for (x, y), *shares in zip(batches(fresh=fresh).epoch(1), *ranks, strict=True):
        assert torch.equal(x, joined(shares)[0])
        assert torch.equal(y, joined(shares)[1])


def test_the_split_has_all_targets_of_fixed_scenes_and_a_batch_of_fresh_ones() -> None:
    assert torch.equal(batches().split.labels, SCENES.draw(range(22)).label)
    assert torch.equal(batches(fresh=True).split.labels, SCENES.draw(range(8)).label)


def test_a_batch_may_be_changed_without_changing_the_scenes() -> None:
    fixed = batches()
    first, _ = next(fixed.epoch(0))
    before = first.clone()
    first.zero_()
    assert torch.equal(next(fixed.epoch(0))[0], before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "boxes"}, "unknown target 'boxes'"),
        ({"count": 0}, "count must be .*, got 0: an epoch has at least one scene"),
        ({"batch_size": 0}, "batch_size must be .*, got 0: a batch holds at least one scene"),
        ({"world_size": 0}, "world_size must be .*, got 0"),
        ({"rank": 2, "world_size": 2}, "rank must be .*, got 2: there are 2 processes"),
        ({"batch_size": 9, "world_size": 2}, "batch_size=9 and count=22 cannot be shared by world_size=2 processes"),
        ({"count": 17, "world_size": 2}, "the last one has 1; give multiples of world_size"),
    ],
)
def test_options_that_cannot_be_are_refused_before_the_first_epoch(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        batches(**options)


@pytest.mark.parametrize(("epoch", "start"), [(-1, 0), (0, -1), (0, 4)])
def test_an_epoch_or_start_that_does_not_exist_is_refused_at_the_call(epoch: int, start: int) -> None:
    with pytest.raises(ValueError, match=r"(epoch|start) must be a whole number .*, got (-1|4): "):
        batches().epoch(epoch, start)
