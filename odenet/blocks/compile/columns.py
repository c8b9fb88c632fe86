"""Narrow states split into columns, so that vector instructions run over the samples.

A state of shape (batch, d) with a small d lies in memory sample by sample, so vector instructions would have to run
along d, or gather. Split into d tensors of shape (batch, 1), the same numbers are processed at full vector width, and
t, h and other quantities of a sample have that shape too. The field still takes and returns whole states; in a compiled
program, `CancelColumns` removes the concatenations that are only taken apart again.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

NARROW = 4
"""Largest number of columns into which a state is split; the size of the program grows with it."""

Parts: TypeAlias = tuple[Tensor, ...]
"""A state as a tuple: the state itself, of shape (batch, …), or its columns, each of shape (batch, 1)."""


def is_narrow(x: Tensor) -> bool:
    """Whether the samples of x are so small that vector instructions of a CPU along one sample would be mostly idle."""
    return x.device.type == "cpu" and x.dim() == 2 and 1 < x.shape[1] <= NARROW


def columns(x: Tensor) -> Parts:
    """Split a state of shape (batch, d) into d tensors of shape (batch, 1)."""
    return torch.split(x, 1, dim=1)


def joined(parts: Parts) -> Tensor:
    """Return the whole state from its parts."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
