"""Full precision: float32 computed as float32 where errors are controlled or measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import Tensor

_CUDNN, _MKLDNN = cast("Any", torch.backends.cudnn), cast("Any", torch.backends.mkldnn)  # the stubs know no parts

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
"""Settings of torch that say in which precision a type of device computes what is given in float32."""

_FULL = ("ieee", "none")
"""Names of the full precision there; "none" is that of a setting that nobody has made."""


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Within it neither autocast nor TF32 rounds: products and convolutions of float32 are computed in float32.

    An error of 1e-6 cannot be told from the rounding of TF32, 5e-4, or bfloat16, 4e-3: error control would reject steps
    for no fault of theirs, and a comparison would measure the rounding.

    Args:
        device_type: Type of the device that computes, e.g. "cuda".
    """
    with ExitStack() as stack:
        if device_type in _BACKENDS and torch.is_autocast_enabled(device_type):
            stack.enter_context(torch.autocast(device_type, enabled=False))
        stack.enter_context(lowered_as({}, device_type))
        yield


def lowered(device_type: str) -> dict[str, str]:
    """Return what such a device computes in fewer digits than those of float32 now, and in which precision."""
    backends = _BACKENDS.get(device_type, {}).items()
    return {name: now for name, backend in backends if (now := backend.fp32_precision) not in _FULL}


@contextmanager
def lowered_as(wanted: Mapping[str, str], device_type: str) -> Iterator[None]:
    """Within it such a device computes as it did where `lowered` returned `wanted`."""
    before = lowered(device_type)
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


def widened(x: Tensor) -> Tensor:
    """Return x in float32 where autocast is on and may have rounded it to half precision, else x itself."""
    is_half = x.dtype in (torch.bfloat16, torch.float16)
    return x.float() if is_half and torch.is_autocast_enabled(x.device.type) else x
