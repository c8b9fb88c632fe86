"""Upsampling gives the lecture's examples exactly, and pooling or cropping undoes it where it should."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from odenet.layers import BedOfNails, Bilinear, MakeUpsampling, MaxUnpooling, Nearest, TransposeConvolution, Upsampling
from odenet.layers.upsampling import center_crop_or_pad

KINDS: dict[str, MakeUpsampling] = {
    "nearest": Nearest,
    "bed of nails": BedOfNails,
    "max unpooling": MaxUnpooling,
    "3×3": TransposeConvolution,
    "2×2": partial(TransposeConvolution, kernel=2, padding=0),
    "4×4": partial(TransposeConvolution, kernel=4, padding=1),
    "bilinear": Bilinear,
    "fixed bilinear": partial(Bilinear, learned=False),
}
PICTURE = torch.tensor([[[[1.0, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]]]])
SMALL = torch.tensor([[[[1.0, 2], [3, 4]]]])


def image(*rows: list[float]) -> Tensor:
    return torch.tensor([[rows]])


def pooled(x: Tensor, factor: int = 2, *, ceil_mode: bool = True) -> tuple[Tensor, Tensor]:
    return F.max_pool2d(x, factor, ceil_mode=ceil_mode, return_indices=True)


# The lecture's examples


def test_nearest_neighbour_repeats_each_pixel_of_the_lectures_example():
    rows = [[1.0, 1, 2, 2], [1.0, 1, 2, 2], [3.0, 3, 4, 4], [3.0, 3, 4, 4]]
    assert torch.equal(Nearest(1)(SMALL), image(*rows))


def test_bed_of_nails_leaves_zeros_between_the_pixels_of_the_lectures_example():
    rows = [[1.0, 0, 2, 0], [0.0, 0, 0, 0], [3.0, 0, 4, 0], [0.0, 0, 0, 0]]
    assert torch.equal(BedOfNails(1)(SMALL), image(*rows))


def test_max_unpooling_returns_each_pixel_of_the_lectures_example_to_where_the_maximum_was():
    maxima, indices = pooled(PICTURE)
    assert torch.equal(maxima, image([5.0, 6], [7, 8]))
    assert torch.equal(indices, torch.tensor([[[[5, 2], [12, 15]]]]))
    rows = [[0.0, 0, 2, 0], [0.0, 1, 0, 0], [0.0, 0, 0, 0], [3.0, 0, 0, 4]]
    assert torch.equal(MaxUnpooling(1)(SMALL, (4, 4), indices), image(*rows))


# One interface


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(
    ("size", "ceil_mode"),
    [((8, 8), True), ((7, 9), True), ((1, 1), True), ((2, 1), True), ((7, 9), False), ((2, 13), False)],
    ids=str,
)
def test_every_upsampling_gives_the_size_of_the_map_that_was_pooled(make, size, ceil_mode):
    torch.manual_seed(0)
    x, indices = pooled(torch.randn(2, 3, *size), ceil_mode=ceil_mode)
    wide = torch.randn(2, 6, *x.shape[2:])
    y = make(6, 3)(wide, size, indices)
    assert y.shape == (2, 3, *size)
    assert y.dtype == x.dtype


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_every_upsampling_can_be_trained_through_in_double_precision(make):
    torch.manual_seed(0)
    x, indices = pooled(torch.randn(1, 2, 5, 4, dtype=torch.float64))
    up = make(3, 2).double()
    wide = torch.randn(1, 3, *x.shape[2:], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: up(x, (5, 4), indices), wide)


@pytest.mark.parametrize("make", [Nearest, BedOfNails, Bilinear], ids=["nearest", "bed of nails", "bilinear"])
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_without_a_size_each_pixel_becomes_factor_times_factor(make, factor):
    assert make(2, factor=factor)(torch.zeros(1, 2, 3, 5)).shape == (1, 2, 3 * factor, 5 * factor)


@pytest.mark.parametrize("kind", [Nearest, BedOfNails, MaxUnpooling, Bilinear])
def test_channels_are_projected_before_spreading_and_only_where_they_change(kind):
    assert isinstance(kind(4).project, nn.Identity)
    up = kind(4, 2)
    _, indices = pooled(torch.randn(1, 2, 6, 6))
    x = torch.randn(1, 4, 3, 3)
    assert torch.equal(up(x, (6, 6), indices), up.upsample_channels(up.project(x), (6, 6), indices))


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_every_upsampling_compiles_into_one_graph(make):
    _, indices = pooled(torch.randn(1, 2, 5, 4))
    up, x = make(3, 2), torch.randn(1, 3, 3, 2)
    compiled = torch.compile(up, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x, (5, 4), indices), up(x, (5, 4), indices))


def test_an_upsampling_prints_its_channels_and_factor():
    assert str(Nearest(4, factor=3)).startswith("Nearest(\n  4, 4, factor=3")


# Laws

SIDES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(size=SIDES, factor=st.integers(1, 4), seed=st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_pooling_undoes_max_unpooling(size, factor, seed):
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(seed))
    maxima, indices = pooled(x, factor)
    y = MaxUnpooling(3, factor=factor)(maxima, size, indices)
    assert torch.equal(pooled(y, factor)[0], maxima)
    assert torch.equal(y[y > 0], x[y > 0])  # pixels that remain are where they were in x


@given(size=SIDES, factor=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_taking_every_factor_th_pixel_undoes_nearest_neighbour_and_bed_of_nails(size, factor):
    x = torch.randn(1, 2, *(-(-n // factor) for n in size))
    for make in (Nearest, BedOfNails):
        assert torch.equal(make(2, factor=factor)(x, size)[:, :, ::factor, ::factor], x)


@given(size=SIDES, factor=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_an_odd_map_of_nearest_neighbour_is_the_even_one_cut_off(size, factor):
    x = torch.randn(1, 1, *(-(-n // factor) for n in size))
    whole = x.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
    assert torch.equal(Nearest(1, factor=factor)(x, size), whole[:, :, : size[0], : size[1]])


def test_what_a_pooling_that_rounds_down_dropped_is_the_last_pixel_again_or_zero():
    assert torch.equal(Nearest(1)(SMALL, (5, 5))[0, 0, 4], torch.tensor([3.0, 3, 4, 4, 4]))
    assert not BedOfNails(1)(SMALL, (5, 5))[0, 0, 4].any()
    x, indices = pooled(torch.rand(1, 1, 5, 5), ceil_mode=False)
    assert not MaxUnpooling(1)(x, (5, 5), indices)[0, 0, 4].any()


@given(size=SIDES, other=SIDES)
@settings(max_examples=60, deadline=None)
def test_cutting_off_undoes_surrounding_with_zeros(size, other):
    x = torch.randn(1, 2, *size)
    larger = [max(pair) for pair in zip(size, other, strict=True)]
    around = center_crop_or_pad(x, larger)
    assert around.shape[2:] == torch.Size(larger)
    assert torch.equal(center_crop_or_pad(around, size), x)
    assert around.count_nonzero() == x.count_nonzero()


# Refusals


@pytest.mark.parametrize("size", [(6, 8), (10, 8), (8, 6), (8, 10), (8,), (8, 8, 8)], ids=str)
def test_a_size_that_no_pooling_of_the_stride_reduces_to_the_map_is_refused(size):
    asked = "×".join(map(str, size))
    with pytest.raises(
        ValueError, match=rf"Nearest of factor 2 was asked for {asked} pixels from 4×4; .* 7 to 9 and 7 to 9: pass"
    ):
        Nearest(1)(torch.zeros(1, 1, 4, 4), size)


def test_unpooling_without_its_poolings_indices_is_refused():
    with pytest.raises(ValueError, match=r"MaxUnpooling was given no indices; .*return_indices=True"):
        MaxUnpooling(1)(SMALL, (4, 4))


def test_unpooling_with_the_indices_of_another_map_is_refused():
    _, indices = pooled(torch.randn(1, 2, 4, 4))
    with pytest.raises(
        ValueError, match=r"indices of shape \(1, 2, 2, 2\) for a map of shape \(1, 1, 2, 2\); .*paired"
    ):
        MaxUnpooling(1)(SMALL, (4, 4), indices)


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("bad", [{"factor": 0}, {"factor": 2.0}, {"channels": -1}, {"in_channels": True}], ids=str)
def test_a_count_that_is_none_is_refused_by_name(make, bad):
    ((name, value),) = bad.items()
    with pytest.raises((TypeError, ValueError), match=f"{name} must be a whole number.*, got {value!r}"):
        make(**({"in_channels": 2} | bad))


def test_only_unpooling_asks_for_indices():
    asking = [name for name, make in KINDS.items() if make(1, 1).needs_indices]
    assert asking == ["max unpooling"]
    assert all(isinstance(make(1, 1), Upsampling) for make in KINDS.values())
