from __future__ import annotations

from typing import Any

import pytest
import torch

from odenet.models.images import require_counts, require_images


@pytest.mark.parametrize(
    ("shape", "fix"),
    [((2, 1, 8, 8), "in_channels=1"), ((3, 8, 8), "in_channels=…"), ((2, 3, 8), "in_channels=…"), ((8,), "reshape")],
    ids=str,
)
def test_images_of_another_shape_are_refused_with_the_one_expected(shape: tuple[int, ...], fix: str) -> None:
    said = rf"Net was given a tensor of shape \(.*it takes \(batch, 3, height, width\): .*{fix}"
    with pytest.raises(ValueError, match=said):
        require_images(torch.zeros(shape), 3, 4, "Net")


@pytest.mark.parametrize("size", [(3, 8), (8, 3), (0, 0)], ids=str)
def test_images_too_small_are_refused_with_the_smallest_allowed(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"Net was given images of {size[0]}×{size[1]} pixels; .* below 4×4: enlarge"):
        require_images(torch.zeros(2, 3, *size), 3, 4, "Net")


def test_images_that_fit_pass() -> None:
    require_images(torch.zeros(2, 3, 4, 9), 3, 4, "Net")


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "10", None], ids=repr)
def test_a_count_that_is_no_positive_integer_is_refused_by_its_name(value: Any) -> None:
    with pytest.raises(ValueError, match=rf"num_classes = {value!r}; .* pass an integer of 1 or more"):
        require_counts(in_channels=3, num_classes=value)
    require_counts(in_channels=3, num_classes=1)
