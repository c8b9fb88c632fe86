"""Every batch is a function of (seed, epoch, index), whatever the number of processes or the place of a resumption."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from odenet.data import Batches, Compose, RandomCrop, RandomFlip, Split

N = 22
MEAN, STD = [0.2, 0.5], [0.3, 0.25]


def split() -> Split:
    """Return images of noise, each labelled with its own number."""
    images = torch.randint(0, 256, (N, 2, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Split(images, torch.arange(N))


def batches(batch_size: int = 8, **options: Any) -> Batches:
    return Batches(split(), batch_size, **{"mean": MEAN, "std": STD, **options})


def training(batch_size: int = 8, **options: Any) -> Batches:
    """Return batches with every random option at once, the hardest case for claims about all batches."""
    augmentation = Compose(RandomCrop(2), RandomFlip())
    return batches(batch_size, **{"shuffle": True, "augmentation": augmentation, "seed": 7, **options})


def joined(parts: Any) -> tuple[Tensor, Tensor]:
    images, labels = zip(*parts, strict=True)
    return torch.cat(images), torch.cat(labels)


def test_images_are_normalised_channel_by_channel() -> None:
    (images, labels), *_ = batches().epoch(0)
    scaled = split().images[:8].double() / 255
    expected = torch.stack([(scaled[:, c] - MEAN[c]) / STD[c] for c in range(2)], dim=1)
    torch.testing.assert_close(images.double(), expected, rtol=1e-6, atol=1e-6)
    assert images.dtype == torch.float32
    assert labels.tolist() == list(range(8))


def test_an_epoch_holds_every_image_once_with_its_label() -> None:
    images, labels = joined(batches(shuffle=True).epoch(3))
    assert sorted(labels.tolist()) == list(range(N))
    in_order, _ = joined(batches().epoch(0))
    assert torch.equal(images, in_order[labels])


def test_epochs_and_seeds_have_different_orders_and_seed_plus_epoch_does_not_matter() -> None:
    orders = {
        tuple(joined(batches(shuffle=True, seed=seed).epoch(epoch))[1].tolist())
        for seed in range(4)
        for epoch in range(4)
    }
    assert len(orders) == 16


def test_an_image_is_augmented_anew_in_each_epoch() -> None:
    first, second = (joined(training(shuffle=False).epoch(epoch))[0] for epoch in (0, 1))
    assert not torch.equal(first, second)


def test_batches_that_hold_the_same_image_in_different_places_augment_it_differently() -> None:
    same = Split(split().images[:1].expand(N, -1, -1, -1).contiguous(), split().labels)
    images, _ = joined(Batches(same, 1, mean=MEAN, std=STD, augmentation=RandomCrop(2)).epoch(0))
    assert len(images.unique(dim=0)) > 10


@pytest.mark.parametrize("start", range(4))
def test_an_epoch_resumed_in_the_middle_goes_on_with_the_same_batches(start: int) -> None:
    whole = list(training().epoch(2))
    resumed = list(training().epoch(2, start=start))
    assert len(resumed) == 3 - start
    for (x, y), (again_x, again_y) in zip(whole[start:], resumed, strict=True):
        assert torch.equal(x, again_x)
        assert torch.equal(y, again_y)


def test_an_epoch_does_not_depend_on_epochs_begun_or_left_before() -> None:
    used = training()
    next(used.epoch(0))
    torch.rand(3)
    list(used.epoch(1))
    assert torch.equal(joined(used.epoch(4))[0], joined(training().epoch(4))[0])


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("drop_last", [True, False])
def test_the_shares_of_all_processes_joined_are_the_batches_of_one(world_size: int, drop_last: bool) -> None:
    alone = list(training(drop_last=drop_last).epoch(1))
    ranks = [training(drop_last=drop_last, rank=r, world_size=world_size) for r in range(world_size)]
    for (x, y), *shares in zip(alone, *(rank.epoch(1) for rank in ranks), strict=True):
        joined_x, joined_y = joined(shares)
        assert torch.equal(x, joined_x)
        assert torch.equal(y, joined_y)


def test_the_shares_of_a_whole_batch_are_equal_and_those_of_the_last_differ_by_one_image_at_most() -> None:
    sizes = [[len(y) for _, y in batches(rank=r, world_size=4).epoch(0)] for r in range(4)]
    assert sizes == [[2, 2, 1], [2, 2, 2], [2, 2, 1], [2, 2, 2]]


@pytest.mark.parametrize(
    ("batch_size", "drop_last", "sizes"), [(8, False, [8, 8, 6]), (8, True, [8, 8]), (11, True, [11, 11])]
)
def test_the_sizes_of_the_batches_are_known_before_they_are_made(
    batch_size: int, drop_last: bool, sizes: list[int]
) -> None:
    chosen = batches(batch_size, drop_last=drop_last)
    assert [len(y) for _, y in chosen.epoch(0)] == sizes
    assert len(chosen) == len(sizes)
    assert [chosen.global_size(index) for index in range(len(chosen))] == sizes


def test_a_batch_larger_than_the_split_is_the_split() -> None:
    assert [len(y) for _, y in batches(100).epoch(0)] == [N]


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    list(training().epoch(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_split_is_not_changed_by_making_batches_of_it() -> None:
    source = split()
    list(Batches(source, 8, mean=MEAN, std=STD, augmentation=RandomCrop(2)).epoch(0))
    assert torch.equal(source.images, split().images)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_an_accelerator_gets_the_batches_of_the_cpu() -> None:
    for (x, y), (device_x, device_y) in zip(training().epoch(1), training(device="cuda").epoch(1), strict=True):
        assert device_x.is_cuda
        torch.testing.assert_close(device_x.cpu(), x, rtol=1e-6, atol=1e-6)
        assert torch.equal(device_y.cpu(), y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be .*, got 0: a batch holds at least one image"),
        ({"seed": -1}, "seed must be .*, got -1"),
        ({"world_size": 0}, "world_size must be .*, got 0"),
        ({"rank": 2, "world_size": 2}, "rank must be a whole number from 0 to 1, got 2: there are 2 processes"),
        ({"batch_size": 9, "world_size": 2}, r"batch_size=9 cannot be shared by world_size=2.*multiple of world_size"),
        ({"batch_size": 7, "world_size": 7}, r"the last batch, 1 of 22 images.*world_size=7.*drop_last=True"),
        ({"batch_size": 23, "drop_last": True}, "batch_size=23 with drop_last leaves no batch: there are 22 images"),
        ({"mean": [0.5]}, "1 means and 2 standard deviations cannot normalise images of 2 channels"),
        ({"std": [0.5, 0.0]}, r"std must be positive, got \(0\.5, 0\.0\)"),
        ({"std": [0.5, float("nan")]}, r"std must be positive, got \(0\.5, nan\)"),
    ],
)
def test_options_that_cannot_be_are_refused_before_the_first_epoch(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        batches(**options)


@pytest.mark.parametrize("options", [{"batch_size": 8.0}, {"seed": 1.5}, {"augmentation": RandomFlip}, {"rank": "0"}])
def test_options_of_the_wrong_type_are_refused_before_the_first_epoch(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"(batch_size|seed|augmentation|rank) must be a.*, got"):
        batches(**options)


@pytest.mark.parametrize(("epoch", "start"), [(-1, 0), (0, -1), (0, 4)])
def test_an_epoch_or_start_that_does_not_exist_is_refused_at_the_call(epoch: int, start: int) -> None:
    with pytest.raises(ValueError, match=r"(epoch|start) must be a whole number .*, got (-1|4): "):
        batches().epoch(epoch, start)
