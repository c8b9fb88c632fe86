"""Full precision: operations in float32 without autocast or TF32, where errors are controlled or measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import Tensor

_CUDNN, _MKLDNN = cast("Any", torch.backends.cudnn), cast("Any", torch.backends.mkldnn)  # incomplete type stubs

_BACKENDS: Mapping[str, Mapping[str, Any]] = {
    "cuda": {
        "products": torch.backends.cuda.matmul,
        "convolutions": _CUDNN.conv,
        "recurrent cells": _CUDNN.rnn,
    },
    "cpu": {
        "products": _MKLDNN.matmul,
        "convolutions": _MKLDNN.conv,
        "recurrent cells": _MKLDNN.rnn,
    },
}
"""PyTorch's settings of the precision of float32 operations, for each type of device."""

_FULL = ("ieee", "none")
"""Names of full precision in these settings; "none" is the value of a setting that was never assigned."""


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Compute float32 products and convolutions in float32 within the context, without autocast and TF32.

    An error of 1e-6 is far below the rounding of TF32 (5e-4) and bfloat16 (4e-3). In those, error control would reject
    steps because of rounding, and a comparison would measure rounding.

    Args:
        device_type: type of the device that computes, e.g. "cuda".
    """
    with ExitStack() as stack:
        if device_type in _BACKENDS and torch.is_autocast_enabled(device_type):
            stack.enter_context(torch.autocast(device_type, enabled=False))
        stack.enter_context(set_precisions({}, device_type))
        yield


def lowered_precisions(device_type: str) -> dict[str, str]:
    """Return the float32 operations that the device computes in lower precision now, with that precision."""
    backends = _BACKENDS.get(device_type, {}).items()
    return {name: now for name, backend in backends if (now := backend.fp32_precision) not in _FULL}


@contextmanager
def set_precisions(wanted: Mapping[str, str], device_type: str) -> Iterator[None]:
    """Set the precisions within the context to those for which `lowered_precisions` returned `wanted`."""
    before = lowered_precisions(device_type)
    changed = [name for name in {*before, *wanted} if before.get(name) != wanted.get(name)]
    backends = _BACKENDS.get(device_type, {})
    former = {name: backends[name].fp32_precision for name in changed}
    try:
        for name in changed:
            backends[name].fp32_precision = wanted.get(name, "ieee")
        yield
    finally:
        for name, precision in former.items():
            backends[name].fp32_precision = precision


def to_float32(x: Tensor) -> Tensor:
    """Return x in float32 if it is in half precision and autocast is on, else x itself."""
    is_half = x.dtype in (torch.bfloat16, torch.float16)
    return x.float() if is_half and torch.is_autocast_enabled(x.device.type) else x
