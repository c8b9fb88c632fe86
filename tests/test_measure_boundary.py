"""Boundary F1 is that counted by hand on small outlines."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from odenet.measure import boundary_f1


def square(top: int, left: int, side: int, size: int = 24) -> Tensor:
    """Build a mask with a square of class 1 on class 0."""
    mask = torch.zeros(1, size, size, dtype=torch.int64)
    mask[:, top : top + side, left : left + side] = 1
    return mask


def test_a_mask_is_its_own_outline():
    mask = torch.cat([square(3, 4, 6), square(10, 10, 9)])
    assert torch.equal(boundary_f1(mask, mask, 2), torch.ones(2))


def test_an_outline_one_pixel_off_is_within_the_tolerance_and_two_pixels_off_is_not():
    true = square(5, 5, 8)
    assert float(boundary_f1(square(5, 6, 8), true, 2)) == 1.0
    assert float(boundary_f1(square(5, 7, 8), true, 2)) < 1.0
    assert float(boundary_f1(square(5, 7, 8), true, 2, tolerance=2.1 / (24 * 2**0.5))) == 1.0


def test_precision_and_recall_are_shares_of_outlines():
    # In each of 10 rows, class 1 borders on class 0 at columns 2|3; the prediction has a second border at 7|8.
    true, found = torch.zeros(1, 10, 12, dtype=torch.int64), torch.zeros(1, 10, 12, dtype=torch.int64)
    true[:, :, :3] = found[:, :, :3] = 1
    found[:, :, 8:] = 1
    # Class 1 has P = 1/2 and R = 1, and so has class 0: of its predicted columns 3 and 7, only 3 is near the true one.
    assert float(boundary_f1(found, true, 2)) == pytest.approx(2 / 3)


def test_the_edge_of_the_image_is_no_outline():
    whole, half = torch.ones(1, 8, 8, dtype=torch.int64), torch.ones(1, 8, 8, dtype=torch.int64)
    half[:, :, 4:] = 0
    assert float(boundary_f1(whole, whole, 2)) == 1.0
    assert float(boundary_f1(whole, half, 2)) == 0.0


def test_a_class_that_is_missed_counts_as_0_and_one_that_nowhere_occurs_not_at_all():
    true = square(4, 4, 6)
    assert float(boundary_f1(torch.where(true == 1, 2, 0), true, 3)) == pytest.approx(1 / 3)
    assert torch.equal(boundary_f1(true, true, 9), boundary_f1(true, true, 2))


def test_ignored_pixels_and_their_border_are_not_judged():
    true, found = square(4, 4, 6), square(4, 4, 6)
    true[:, 14:20, 14:20] = 255
    found[:, 15:18, 15:18] = 1
    assert float(boundary_f1(found, true, 2, ignore_index=255)) == 1.0
    true[:, 14:20, 14:20] = 0
    assert float(boundary_f1(found, true, 2)) < 1.0


def test_masks_of_one_pixel_have_no_outline_to_miss():
    assert float(boundary_f1(torch.zeros(1, 1, 1, dtype=torch.int64), torch.ones(1, 1, 1, dtype=torch.int64), 2)) == 1.0
