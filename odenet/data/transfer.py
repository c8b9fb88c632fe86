"""Copies from the host to a device that the host does not wait for."""

from __future__ import annotations

import torch
from torch import Tensor


def sent_to(device: torch.device, numbers: Tensor) -> Tensor:
    """Return `numbers`, which lie on the host, on `device`; the host goes on before they have arrived there.

    A copy out of ordinary memory makes the host wait for all work that is queued on a CUDA device. Out of pinned memory
    it does not, and torch keeps that memory until the copy is made.
    """
    if device.type == "cuda" and numbers.device.type == "cpu":
        numbers = numbers.pin_memory()
    return numbers.to(device, non_blocking=True)
