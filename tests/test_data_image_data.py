"""A data set knows the statistics of its training images and gives batches normalised by them."""

from __future__ import annotations

from dataclasses import replace

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


def test_the_validation_split_has_a_share_of_each_class_and_the_training_split_the_rest() -> None:
    both = data().with_validation(0.2)
    assert both.validation is not None
    assert both.validation.labels.bincount().tolist() == [2, 2, 2]
    assert both.train.labels.bincount().tolist() == [8, 8, 8]
    rows = torch.cat([both.train.images, both.validation.images]).flatten(1).tolist()
    assert sorted(rows) == sorted(data().train.images.flatten(1).tolist())
    assert torch.equal(both.test.images, data().test.images)


def test_which_images_are_for_validation_depends_on_the_seed_alone() -> None:
    first, again, other = (data().with_validation(0.2, seed) for seed in (0, 0, 1))
    assert first.validation is not None
    assert again.validation is not None
    assert other.validation is not None
    assert torch.equal(first.validation.images, again.validation.images)
    assert not torch.equal(first.validation.images, other.validation.images)


def test_validation_batches_are_in_order_and_normalised_as_in_training() -> None:
    both = data().with_validation(0.2).with_train_images(9)
    assert both.validation is not None
    found, tested = both.validation_batches(6), replace(both, test=both.validation).test_batches(6)
    assert found is not None
    for ours, theirs in zip(next(found.epoch(0)), next(tested.epoch(0)), strict=True):
        assert torch.equal(ours, theirs)


def test_data_without_a_validation_split_have_no_validation_batches() -> None:
    assert data().validation_batches(6) is None


@pytest.mark.parametrize(
    ("share", "counts"), [(0.0, "10 training and 0"), (0.04, "10 training and 0"), (1.0, "0 training and 10")]
)
def test_a_validation_share_that_leaves_a_class_empty_is_refused_with_the_class(share: float, counts: str) -> None:
    with pytest.raises(ValueError, match=rf"share of {share:g} leaves class 'cat' with {counts} validation images"):
        data().with_validation(share)


def test_a_second_validation_split_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'pets' has one of 6 images: make it once"):
        data().with_validation(0.2).with_validation(0.2)


def test_a_validation_split_of_other_images_or_labels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"and validation images of shape \(2, 6, 7\)"):
        replace(data(), validation=split(9, size=6))
    with pytest.raises(ValueError, match=r"label 5 in the validation split of 'pets' has no class"):
        replace(data(), validation=Split(split(9).images, torch.arange(9).clamp(max=5)))


def test_a_label_without_a_class_is_refused_with_the_split_it_is_in() -> None:
    with pytest.raises(ValueError, match=r"label 2 in the test split of 'pets' has no class: there are 2 classes"):
        ImageData("pets", split(2), split(9), CLASSES[:2])
