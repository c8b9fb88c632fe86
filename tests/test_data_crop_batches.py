"""Batches of crops contain every image once per epoch, are the same at each call, and train a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from odenet.data import CropBatches, MaskedImages, masked_folder
from odenet.data.masked_images import IGNORED
from odenet.training import Segmentation, Training, evaluate, fit

SIZES = [(8, 12), (20, 9), (5, 5), (10, 30), (16, 16)]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> MaskedImages:
    """Images of several sizes, whose red channel is the class of the pixel, (x + 3·y) mod 2, and green the image."""
    folder = tmp_path_factory.mktemp("pairs")
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for number, (height, width) in enumerate(SIZES):
        mask = np.add.outer(3 * np.arange(height), np.arange(width)) % 2
        pixels = np.stack([255 * mask, np.full_like(mask, number), np.zeros_like(mask)], axis=2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"{number}.png")
        Image.fromarray(mask.astype(np.uint8)).save(folder / "masks" / f"{number}.png")
    return masked_folder(folder, ["even", "odd"])


def numbers(images: Tensor) -> list[int]:
    """Return the numbers of the images from which the crops come, by their green channel."""
    return sorted((255 * (0.25 * images[:, 1].amin(dim=(1, 2)) + 0.5)).round().int().tolist())


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("size", [4, 10])
def test_masks_move_with_their_images_and_what_is_beyond_is_ignored(pairs, train, size):
    for images, masks in CropBatches(pairs, size, 2, train=train).epoch(3):
        assert images.shape == (len(masks), 3, size, size)
        assert masks.shape[1:] == (size, size)
        inside = masks != IGNORED
        assert inside.any()
        assert torch.equal(images[:, 0] > 0.5, inside & (masks == 1))
        assert torch.equal(images.abs().amax(dim=1) == 0, ~inside)


def test_an_epoch_has_every_image_once_and_each_epoch_another_order(pairs):
    batches = CropBatches(pairs, 4, 1, train=True)
    first, second = ([numbers(images)[0] for images, _ in batches.epoch(epoch)] for epoch in (0, 1))
    assert sorted(first) == sorted(second) == [0, 1, 2, 3, 4]
    assert first != second


def test_a_resumed_epoch_goes_on_with_the_same_crops(pairs):
    batches = CropBatches(pairs, 6, 2, train=True, seed=5)
    for (images, masks), (again, masks_again) in zip(
        list(batches.epoch(1))[1:], batches.epoch(1, start=1), strict=True
    ):
        assert torch.equal(images, again)
        assert torch.equal(masks, masks_again)


def test_shares_of_processes_joined_are_the_batch_of_one(pairs):
    whole = next(CropBatches(pairs, 6, 4, train=True).epoch(2))[0]
    shares = [next(CropBatches(pairs, 6, 4, train=True, rank=rank, world_size=2).epoch(2))[0] for rank in (0, 1)]
    assert torch.equal(torch.cat(shares), whole)


def test_a_test_leaves_out_no_image_and_shows_the_middle(pairs):
    batches = CropBatches(pairs, 4, 2, train=False)
    assert len(batches) == 3
    assert [number for images, _ in batches.epoch(0) for number in numbers(images)] == [0, 1, 2, 3, 4]
    images, _ = pairs.read(0)
    crop = next(batches.epoch(0))[0][0]
    assert torch.equal(crop, (images[:, 2:6, 4:8] / 255 - 0.5) / 0.25)


def test_a_network_learns_from_them(pairs, tmp_path: Path):
    torch.manual_seed(0)
    task, net = Segmentation(2, ignore_index=IGNORED), nn.Conv2d(3, 2, 1)
    train, test = (CropBatches(pairs, 6, 2, train=train) for train in (True, False))
    settings = Training(epochs=10, optimizer="adam", lr=0.1, device="cpu", threads=1)
    fit(net, task, train, None, settings, seed=0, folder=tmp_path, quiet=True)
    assert evaluate(net, task, test)["mean_iou"] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be .*, got 0: a crop has at least one pixel"),
        ({"batch_size": 6}, "batch_size must be .*, got 6: there are 5 images"),
        ({"world_size": 3}, "batch_size=2 cannot be shared by world_size=3 processes"),
    ],
)
def test_counts_that_cannot_be_are_refused(pairs, options, message):
    given = {"size": 4, "batch_size": 2, "train": True} | options
    with pytest.raises(ValueError, match=message):
        CropBatches(pairs, given.pop("size"), given.pop("batch_size"), **given)


def test_a_seed_that_cannot_be_is_refused_at_once(pairs):
    with pytest.raises(ValueError, match=r"seed must be .*, got -1"):
        CropBatches(pairs, 4, 2, train=True, seed=-1)
