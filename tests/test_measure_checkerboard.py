"""The checkerboard energy is the spectral energy at the frequencies of the stride."""

from __future__ import annotations

import pytest
import torch

from odenet.measure import checkerboard_energy


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_the_energy_is_that_of_the_spectrum_at_the_frequencies_of_the_stride(stride):
    torch.manual_seed(0)
    side = 4 * stride
    maps = torch.randn(3, 2, side, side, dtype=torch.float64)
    power = torch.fft.fft2(maps).abs().square()
    power[:, :, 0, 0] = 0
    expected = power[:, :, :: side // stride, :: side // stride].sum() / power.sum()
    assert checkerboard_energy(maps, stride) == pytest.approx(float(expected), rel=1e-12)


def test_a_pattern_of_the_stride_is_all_checkerboard_and_repeated_pixels_are_none():
    assert checkerboard_energy(torch.randn(1, 1, 3, 3).repeat(2, 1, 5, 5), 3) == pytest.approx(1)
    repeated = torch.randn(2, 3, 4, 5).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert checkerboard_energy(repeated) == pytest.approx(0, abs=1e-12)


def test_a_large_picture_has_hardly_any():
    slope = torch.linspace(0, 1, 64)
    assert checkerboard_energy(torch.outer(slope, slope)[None, None]) < 1e-3


def test_constant_maps_have_none():
    assert checkerboard_energy(torch.ones(1, 1, 4, 4)) == 0


def test_rows_and_columns_beyond_a_multiple_of_the_stride_are_left_out():
    torch.manual_seed(0)
    maps = torch.randn(1, 1, 7, 9)
    assert checkerboard_energy(maps) == checkerboard_energy(maps[:, :, :6, :8])


@pytest.mark.parametrize(("stride", "side"), [(1, 8), (0, 8), (4, 3)])
def test_a_stride_without_phases_or_larger_than_the_maps_is_refused(stride, side):
    with pytest.raises(ValueError, match=f"stride = {stride} for maps of {side}×{side} pixels; .* from 2 on"):
        checkerboard_energy(torch.zeros(1, 1, side, side), stride)
