"""Augmentations are functions of the images and of their uniform random numbers, and keep shape and dtype."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from odenet.data import Augmentation, Compose, RandomCrop, RandomErasing, RandomFlip

EVERY = [RandomCrop(1), RandomCrop(3), RandomFlip(), RandomErasing(), Compose(RandomCrop(2), RandomFlip()), Compose()]


def images(n: int = 32) -> Tensor:
    return torch.randint(1, 256, (n, 3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def shifted(image: Tensor, down: int, right: int) -> Tensor:
    """Shift an image pixel by pixel: the value at (i, j) moves to (i + down, j + right), and uncovered pixels are 0."""
    result = torch.zeros_like(image)
    height, width = image.shape[-2:]
    for i in range(height):
        for j in range(width):
            if 0 <= i + down < height and 0 <= j + right < width:
                result[:, i + down, j + right] = image[:, i, j]
    return result


def test_a_crop_shifts_each_image_by_its_own_two_numbers() -> None:
    x, u = images(), torch.rand(32, 2, generator=torch.Generator().manual_seed(1))
    cropped = RandomCrop(2).apply(x, u)
    shifts = 2 - (5 * u).floor().long()
    assert len(shifts.unique(dim=0)) > 10
    for before, after, (down, right) in zip(x, cropped, shifts.tolist(), strict=True):
        assert torch.equal(after, shifted(before, down, right))


def test_a_crop_reaches_every_shift_equally_often() -> None:
    dot = torch.zeros(1, 1, 9, 9, dtype=torch.uint8)
    dot[0, 0, 4, 4] = 1
    counts = RandomCrop(1)(dot.expand(9000, -1, -1, -1), torch.Generator().manual_seed(0)).sum(0)[0]
    assert counts.sum() == counts[3:6, 3:6].sum() == 9000
    assert torch.all((counts[3:6, 3:6] - 1000).abs() < 150)  # five standard deviations


@pytest.mark.parametrize("padding", [1, 2, 4, 7])
def test_the_largest_number_below_one_is_the_largest_shift(padding: int) -> None:
    x = torch.ones(1, 1, 9, 9, dtype=torch.uint8)
    nearly_one = torch.full((1, 2), 1 - 2**-24)
    assert torch.equal(RandomCrop(padding).apply(x, nearly_one)[0], shifted(x[0], -padding, -padding))


def test_a_flip_mirrors_the_columns_of_half_of_the_images() -> None:
    x, u = images(), torch.rand(32, 1, generator=torch.Generator().manual_seed(1))
    flipped = RandomFlip().apply(x, u)
    for before, after, number in zip(x, flipped, u, strict=True):
        assert torch.equal(after, before[:, :, [4, 3, 2, 1, 0]] if number < 0.5 else before)


def test_what_is_erased_is_one_rectangle_of_2_to_40_percent_in_the_given_share_of_images() -> None:
    x = torch.ones(4000, 1, 30, 40, dtype=torch.uint8)
    erased = RandomErasing(0.25)(x, torch.Generator().manual_seed(0))[:, 0] == 0
    pixels = erased.sum(dim=(1, 2))
    assert ((pixels > 0).float().mean() - 0.25).abs() < 0.035  # five standard deviations
    sides = erased.any(2).sum(1), erased.any(1).sum(1)
    assert torch.equal(pixels, sides[0] * sides[1])
    some = pixels[pixels > 0] / 1200
    assert some.min() < 0.03
    assert some.min() > 0.015
    assert 0.35 < some.max() < 0.42


def test_every_pixel_is_erased_sometimes_and_kept_sometimes() -> None:
    x = torch.ones(3000, 1, 8, 6, dtype=torch.uint8)
    kept = RandomErasing(1.0)(x, torch.Generator().manual_seed(0)).float().mean(0)
    assert kept.min() > 0.3
    assert kept.max() < 1


@pytest.mark.parametrize("number", [0.0, 1 - 2**-24])
def test_the_extreme_numbers_keep_the_rectangle_within_the_image(number: float) -> None:
    x = torch.ones(1, 1, 5, 50, dtype=torch.uint8)
    u = torch.full((1, 5), number)
    u[0, 0] = 0
    assert 0 < (RandomErasing().apply(x, u) == 0).sum() < 250


@pytest.mark.parametrize("probability", [0.0, -0.1, 1.1, float("nan")])
def test_a_share_of_images_outside_0_to_1_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match=r"probability must be greater than 0 and at most 1, got .*: it is the"):
        RandomErasing(probability)


def test_a_composition_applies_its_parts_in_order_each_with_its_own_numbers() -> None:
    x, u = images(), torch.rand(32, 3, generator=torch.Generator().manual_seed(1))
    one_by_one = RandomFlip().apply(RandomCrop(2).apply(x, u[:, :2]), u[:, 2:])
    assert torch.equal(Compose(RandomCrop(2), RandomFlip()).apply(x, u), one_by_one)


def test_an_empty_composition_is_the_identity() -> None:
    assert torch.equal(Compose()(images(), torch.Generator()), images())


@pytest.mark.parametrize("augmentation", EVERY, ids=repr)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_shape_and_dtype_are_kept_and_the_argument_is_not_touched(
    augmentation: Augmentation, dtype: torch.dtype
) -> None:
    x = images().to(dtype)
    result = augmentation(x, torch.Generator().manual_seed(0))
    assert result.shape == x.shape
    assert result.dtype == dtype
    assert torch.equal(x, images().to(dtype))


@pytest.mark.parametrize("augmentation", EVERY, ids=repr)
def test_a_part_of_a_batch_becomes_that_part_of_the_augmented_batch(augmentation: Augmentation) -> None:
    x, u = images(), torch.rand(32, augmentation.draws, generator=torch.Generator().manual_seed(1))
    assert torch.equal(augmentation.apply(x[5:9], u[5:9]), augmentation.apply(x, u)[5:9])


def test_one_state_of_the_generator_gives_one_result() -> None:
    crop = RandomCrop(2)
    first, second = (crop(images(), torch.Generator().manual_seed(seed)) for seed in (3, 3))
    assert torch.equal(first, second)
    assert not torch.equal(first, crop(images(), torch.Generator().manual_seed(4)))


@pytest.mark.parametrize(("padding", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
def test_a_shift_that_is_no_positive_number_of_pixels_is_refused(padding: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"padding.* whole number"):
        RandomCrop(padding)


def test_a_shift_that_can_lose_the_whole_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"padding=5 is too large for images of 6×5 pixels"):
        RandomCrop(5)(images(), torch.Generator())


@pytest.mark.parametrize("part", [RandomFlip, torch.flip, None])
def test_what_is_not_an_augmentation_cannot_be_composed(part: Any) -> None:
    with pytest.raises(TypeError, match=r"parts\[1\] must be an instance of Augmentation.*, got .*"):
        Compose(RandomCrop(1), part)
