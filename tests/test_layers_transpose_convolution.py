"""Transpose convolution gives the lecture's example, is the transposed matrix, and can interpolate bilinearly."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from odenet.layers import Bilinear, TransposeConvolution, bilinear_kernel, initialize_bilinear
from odenet.measure import count_parameters


def sequence(*filters: float, factor: int = 2, padding: int = 0) -> TransposeConvolution:
    """Build a transpose convolution of sequences with these weights."""
    up = TransposeConvolution(
        1, factor=factor, kernel=len(filters), padding=padding, bias=False, dimensions=1
    ).requires_grad_(False)
    up.filter.weight.copy_(torch.tensor([[filters]]))
    return up


def test_the_lectures_example_sums_where_two_filters_overlap():
    a, b, x, y, z = 2.0, 3.0, 1.0, 10.0, 100.0
    expected = torch.tensor([[[a * x, a * y, a * z + b * x, b * y, b * z]]])
    assert torch.equal(sequence(x, y, z)(torch.tensor([[[a, b]]])), expected)
    assert torch.equal(expected, torch.tensor([[[2.0, 20, 203, 30, 300]]]))


def test_padding_cuts_off_the_borders_of_the_lectures_example():
    x = torch.tensor([[[2.0, 3.0]]])
    assert torch.equal(sequence(1, 10, 100, padding=1)(x), torch.tensor([[[20.0, 203, 30]]]))
    assert torch.equal(sequence(1, 10, 100, padding=1)(x, (4,)), torch.tensor([[[20.0, 203, 30, 300]]]))


def test_the_lectures_filter_moves_two_pixels_in_the_output_for_one_in_the_input():
    up = TransposeConvolution(1, bias=False).requires_grad_(False)
    up.filter.weight.fill_(1)
    y = up(torch.tensor([[[[1.0, 10], [100, 1000]]]]), (4, 4))
    expected = [[1.0, 11, 10, 10], [101, 1111, 1010, 1010], [100, 1100, 1000, 1000], [100, 1100, 1000, 1000]]
    assert torch.equal(y, torch.tensor([[expected]]))


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 6), st.data())
@settings(max_examples=60, deadline=None)
def test_the_natural_size_is_n_minus_1_strides_less_the_padding_plus_a_filter(n, stride, kernel, data):
    p = data.draw(st.integers(0, (kernel - 1) // 2))
    up = TransposeConvolution(1, factor=stride, kernel=kernel, padding=p)
    side = (n - 1) * stride - 2 * p + kernel
    assert up(torch.zeros(1, 1, n, n + 1)).shape == (1, 1, side, side + stride)
    assert up.natural_size((n, n + 1)) == (side, side + stride)


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 7), st.data())
@settings(max_examples=100, deadline=None)
def test_on_any_size_it_is_the_transpose_convolution_of_x_between_zeros(n, stride, kernel, data):
    p = data.draw(st.integers(0, (kernel - 1) // 2))
    size = data.draw(st.integers(stride * (n - 1) + 1, stride * (n + 1) - 1))
    up = TransposeConvolution(2, 3, factor=stride, kernel=kernel, padding=p, dimensions=1)
    x = torch.randn(1, 2, n)
    endless = F.conv_transpose1d(F.pad(x, (0, stride + 7)), up.filter.weight, up.filter.bias, stride, p)
    assert torch.allclose(up(x, (size,)), endless[:, :, :size], atol=1e-6)


@pytest.mark.parametrize(("stride", "kernel", "padding"), [(2, 3, 1), (2, 2, 0), (3, 5, 1), (1, 3, 1)])
def test_it_is_the_transposed_matrix_of_the_convolution(stride, kernel, padding):
    torch.manual_seed(0)
    up = TransposeConvolution(3, 2, factor=stride, kernel=kernel, padding=padding, bias=False).double()
    y, x = torch.randn(1, 3, 4, 5).double(), torch.randn(1, 2, 4 * stride, 5 * stride).double()
    convolved = F.conv2d(x, up.filter.weight, stride=stride, padding=padding)
    assert convolved.shape == y.shape
    assert (convolved * y).sum().item() == pytest.approx((x * up(y, x.shape[2:])).sum().item(), rel=1e-12)


def test_with_stride_1_it_is_an_ordinary_convolution_with_the_filter_turned_around():
    torch.manual_seed(0)
    up, x = TransposeConvolution(3, 2, factor=1), torch.randn(2, 3, 6, 5)
    turned = up.filter.weight.transpose(0, 1).flip(2, 3)
    assert torch.allclose(up(x), F.conv2d(x, turned, up.filter.bias, padding=1), atol=1e-6)


@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (2, 0), (4, 1)])
def test_the_first_weights_keep_the_variance(kernel, padding):
    torch.manual_seed(0)
    up = TransposeConvolution(64, 32, kernel=kernel, padding=padding)
    x = torch.randn(8, 64, 16, 16)
    assert up(x, (32, 32))[:, :, 2:-2, 2:-2].var().item() == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(("kernel", "padding", "uneven"), [(3, 1, True), (2, 0, False), (4, 1, False)])
def test_overlaps_are_uneven_unless_the_stride_divides_the_filter(kernel, padding, uneven):
    up = TransposeConvolution(1, kernel=kernel, padding=padding, bias=False).requires_grad_(False)
    up.filter.weight.fill_(1)
    inside = up(torch.ones(1, 1, 8, 8), (16, 16))[:, :, 4:-4, 4:-4]
    assert (inside.unique().numel() > 1) == uneven


def test_without_a_bias_nothing_comes_of_nothing():
    assert TransposeConvolution(1).filter.bias is not None
    assert not TransposeConvolution(1, bias=False)(torch.zeros(1, 1, 3, 3)).any()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"kernel": 2}, "kernel = 2 with padding = 1; .* pass a kernel of 3 or more"),
        ({"kernel": 0}, "kernel must be .* of at least 1, got 0"),
        ({"padding": -1}, "padding must be .* of at least 0, got -1"),
        ({"dimensions": 3}, "dimensions = 3; .* 1 or 2"),
    ],
    ids=str,
)
def test_filters_that_cannot_be_are_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        TransposeConvolution(1, **options)


# Bilinear


def test_the_bilinear_kernel_has_the_published_values():
    axis = torch.tensor([0.25, 0.75, 0.75, 0.25])
    assert torch.equal(bilinear_kernel(2), torch.outer(axis, axis))
    assert torch.allclose(bilinear_kernel(3)[2], torch.tensor([1.0, 2, 3, 2, 1]) / 3)
    assert bilinear_kernel(32).shape == (64, 64)
    assert bilinear_kernel(32).sum().item() == 32**2


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8])
def test_inside_it_is_bilinear_interpolation(factor, learned):
    torch.manual_seed(0)
    x, up = torch.randn(2, 3, 5, 6), Bilinear(3, factor=factor, learned=learned)
    inside = (..., slice(factor, -factor), slice(factor, -factor))
    expected = F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)
    assert torch.allclose(up(x)[inside], expected[inside], atol=1e-6)


@pytest.mark.parametrize("factor", [2, 3])
def test_bilinear_on_a_constant_map_is_constant_inside(factor):
    y = Bilinear(1, factor=factor)(torch.ones(1, 1, 5, 5))
    assert torch.allclose(y[..., factor:-factor, factor:-factor], torch.tensor(1.0), atol=1e-6)


def test_fixed_bilinear_filters_cost_no_parameters_and_learned_ones_do():
    assert count_parameters(Bilinear(3, learned=False)) == 0
    assert count_parameters(Bilinear(3)) == 3 * 3 * 4 * 4


def test_filters_that_mix_channels_or_have_another_size_cannot_be_bilinear():
    for filters in (nn.ConvTranspose2d(2, 3, 4, 2, 1), nn.ConvTranspose2d(2, 2, 3, 2, 1)):
        with pytest.raises(
            ValueError, match=r"cannot interpolate; .* stride 2 keeps the channels and has filters of 4×4"
        ):
            initialize_bilinear(filters)
