"""A split keeps images and labels together and refuses tensors that do not match."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from odenet.data import Split
from odenet.data.split import balanced_order


def images(n: int = 6, channels: int = 1, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    return torch.arange(n * channels * 4 * 5).reshape(n, channels, 4, 5).to(dtype)


def test_a_subset_keeps_images_and_labels_together_in_the_order_asked_for() -> None:
    chosen = torch.tensor([4, 0])
    subset = Split(images(), torch.arange(6)).subset(chosen)
    assert torch.equal(subset.images, images()[chosen])
    assert torch.equal(subset.labels, chosen)


def test_the_first_images_are_a_view() -> None:
    split = Split(images(), torch.arange(6))
    assert len(split.first(2)) == 2
    assert split.first(2).images.data_ptr() == split.images.data_ptr()


def test_moving_a_split_to_where_it_is_copies_nothing() -> None:
    split = Split(images(), torch.arange(6))
    assert split.to("cpu").images.data_ptr() == split.images.data_ptr()


def test_a_split_is_shown_by_its_size_not_its_pixels() -> None:
    assert repr(Split(images(channels=3), torch.arange(6))) == "Split(6 images of 3×4×5 on cpu)"


def test_images_that_are_not_bytes_are_refused() -> None:
    with pytest.raises(TypeError, match=r"images of torch\.float32 .* give torch\.uint8"):
        Split(images(dtype=torch.float32), torch.arange(6))


def test_labels_that_are_not_int64_are_refused() -> None:
    with pytest.raises(TypeError, match=r"labels of torch\.float32 .* give torch\.int64"):
        Split(images(), torch.zeros(6))


@pytest.mark.parametrize("shape", [(6, 4, 5), (0, 1, 4, 5), (6, 0, 4, 5)])
def test_images_that_are_not_n_by_channels_by_height_by_width_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"images of shape .* \(n, C, H, W\)"):
        Split(torch.zeros(shape, dtype=torch.uint8), torch.arange(6))


@pytest.mark.parametrize("shape", [(5,), (6, 1), ()])
def test_labels_that_do_not_match_the_images_are_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"labels of shape .* images of shape \(6, 1, 4, 5\).* shape \(6,\)"):
        Split(images(), torch.zeros(shape, dtype=torch.int64))


def test_a_negative_label_is_refused() -> None:
    with pytest.raises(ValueError, match=r"label -1 is negative: classes are numbered from 0"):
        Split(images(), torch.tensor([0, 1, -1, 2, 0, 0]))


def test_images_and_labels_on_two_devices_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images on cpu and labels on meta"):
        Split(images(), torch.arange(6, device="meta"))


@pytest.mark.parametrize("n", [0, 7])
def test_more_images_than_there_are_cannot_be_taken(n: int) -> None:
    with pytest.raises(ValueError, match=rf"n must be a whole number from 1 to 6, got {n}: the split has 6 images"):
        Split(images(), torch.arange(6)).first(n)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 3))
def test_a_balanced_order_is_a_permutation_along_which_classes_take_turns(labels: list[int], seed: int) -> None:
    y = torch.tensor(labels)
    order = balanced_order(y, seed)
    assert sorted(order.tolist()) == list(range(len(labels)))
    totals = y.bincount(minlength=5)
    for m in range(1, len(labels) + 1):
        counts = y[order[:m]].bincount(minlength=5)
        unfinished = counts[counts < totals]
        assert len(unfinished) == 0 or counts.max() - unfinished.min() <= 1


def test_a_balanced_order_depends_on_the_seed_and_on_nothing_else() -> None:
    labels = torch.arange(50) % 5
    assert torch.equal(balanced_order(labels, 1), balanced_order(labels, 1))
    assert not torch.equal(balanced_order(labels, 1), balanced_order(labels, 2))
