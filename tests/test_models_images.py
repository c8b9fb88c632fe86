"""Images of another type, shape, size or dtype than a network takes are refused with the remedy."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from odenet.models import SigmoidMLP, resnet20, unet
from odenet.models.images import require_images


class Net(nn.Module):
    """A network without parameters, which takes images of any dtype."""


@pytest.mark.parametrize(
    ("shape", "fix"),
    [((2, 1, 8, 8), "in_channels=1"), ((3, 8, 8), "in_channels=…"), ((2, 3, 8), "in_channels=…"), ((8,), "reshape")],
    ids=str,
)
def test_images_of_another_shape_are_refused_with_the_one_expected(shape: tuple[int, ...], fix: str) -> None:
    said = rf"Net was given a tensor of shape \(.*it takes \(batch, 3, height, width\): .*{fix}"
    with pytest.raises(ValueError, match=said):
        require_images(torch.zeros(shape), 3, 4, Net())


@pytest.mark.parametrize("size", [(3, 8), (8, 3), (0, 0)], ids=str)
def test_images_too_small_are_refused_with_the_smallest_allowed(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"Net was given images of {size[0]}×{size[1]} pixels; .* below 4×4: enlarge"):
        require_images(torch.zeros(2, 3, *size), 3, 4, Net())


def test_images_that_fit_pass() -> None:
    require_images(torch.zeros(2, 3, 4, 9), 3, 4, Net())


DTYPES = [torch.uint8, torch.int64, torch.bool, torch.float64, torch.float16, torch.complex64]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("make", [partial(resnet20, in_channels=3), partial(unet, 2, 3), partial(SigmoidMLP, 2, 192)])
def test_images_of_another_dtype_than_the_weights_are_refused_with_both(dtype: torch.dtype, make: Any) -> None:
    net = make()
    said = rf"{type(net).__name__} with weights of torch.float32 was given images of {dtype}; .*: convert "
    with pytest.raises(TypeError, match=said + (r"images\.to" if dtype.is_floating_point else r"bytes by \(images")):
        net(torch.zeros(2, 3, 8, 8, dtype=dtype))


def test_autocast_takes_floats_of_less_precision_and_no_bytes() -> None:
    net = resnet20(in_channels=3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert net(torch.zeros(2, 3, 8, 8, dtype=torch.bfloat16)).isfinite().all()
        for dtype in (torch.uint8, torch.float64):
            with pytest.raises(TypeError, match="was given images of"):
                net(torch.zeros(2, 3, 8, 8, dtype=dtype))


def test_images_that_are_no_tensor_are_refused() -> None:
    with pytest.raises(TypeError, match=r"ResNet was given a ndarray; it takes a tensor \(batch, 3, height, width\)"):
        resnet20(in_channels=3)(np.zeros((2, 3, 8, 8)))
