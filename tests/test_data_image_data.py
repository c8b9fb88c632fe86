"""A data set knows the statistics of its training images and gives batches normalised by them."""

from __future__ import annotations

import pytest
import torch

from odenet.data import ImageData, RandomFlip, Split

CLASSES = ("cat", "dog", "horse")


def split(n: int, size: int = 4, seed: int = 0) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 2, size, size + 1), dtype=torch.uint8, generator=generator)
    return Split(images, torch.arange(n) % 3)


def data(n: int = 30) -> ImageData:
    return ImageData("pets", split(n), split(9, seed=1), CLASSES, RandomFlip())


def test_mean_and_std_are_those_of_the_training_pixels() -> None:
    pixels = data().train.images.double().div(255).transpose(0, 1).flatten(1)
    assert data().mean == pytest.approx(pixels.mean(1).tolist(), abs=1e-12)
    assert data().std == pytest.approx(pixels.std(1, correction=0).tolist(), abs=1e-12)


def test_normalised_training_images_have_mean_0_and_standard_deviation_1() -> None:
    ((images, _),) = data().train_batches(30, augment=False).epoch(0)
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(images.std((0, 2, 3), correction=0), torch.ones(2), rtol=0, atol=1e-5)


def test_what_a_network_needs_to_know_is_read_from_the_images() -> None:
    assert (data().in_channels, data().image_size, data().num_classes) == (2, (4, 5), 3)


def test_a_smaller_training_set_is_balanced_and_part_of_a_larger_one() -> None:
    small, large = (data().with_train_images(n).train for n in (9, 14))
    assert small.labels.bincount().tolist() == [3, 3, 3]
    assert large.labels.bincount().tolist() == [5, 5, 4]
    assert torch.equal(large.images[:9], small.images)


def test_a_smaller_training_set_leaves_the_test_split_whole_and_has_its_own_mean() -> None:
    small = data().with_train_images(9)
    assert torch.equal(small.test.images, data().test.images)
    assert small.mean != data().mean


@pytest.mark.parametrize("n", [0, 31])
def test_a_training_set_larger_than_there_is_cannot_be_had(n: int) -> None:
    with pytest.raises(ValueError, match=rf"train_images must be .* from 1 to 30, got {n}: 'pets' has 30 of them"):
        data().with_train_images(n)


def test_training_batches_are_shuffled_and_augmented_unless_asked_otherwise() -> None:
    ((_, shuffled),) = data().train_batches(30, seed=1).epoch(0)
    assert not torch.equal(shuffled, data().train.labels)
    ((augmented, _),) = data().train_batches(30, shuffle=False).epoch(0)
    ((plain, labels),) = data().train_batches(30, shuffle=False, augment=False).epoch(0)
    assert torch.equal(labels, data().train.labels)
    assert torch.equal(torch.where((augmented == plain).all((1, 2, 3), True), plain, plain.flip(-1)), augmented)
    assert not torch.equal(augmented, plain)


def test_test_batches_are_the_test_split_in_order_normalised_as_in_training() -> None:
    ((images, labels),) = data().test_batches(9).epoch(0)
    assert torch.equal(labels, data().test.labels)
    bytes_again = (
        images * torch.tensor(data().std).view(1, -1, 1, 1) + torch.tensor(data().mean).view(1, -1, 1, 1)
    ) * 255
    assert torch.equal(bytes_again.round().byte(), data().test.images)


def test_splits_of_different_image_shapes_are_refused_with_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(2, 4, 5\) and test images of shape \(2, 6, 7\) .*'pets'"):
        ImageData("pets", split(9), split(9, size=6), CLASSES)


def test_a_label_without_a_class_is_refused_with_the_split_it_is_in() -> None:
    with pytest.raises(ValueError, match=r"label 2 in the test split of 'pets' has no class: there are 2 classes"):
        ImageData("pets", split(2), split(9), CLASSES[:2])
