"""Narrow states by columns: each entry of a sample in a tensor of its own, for programs that run over the samples.

A state of shape (batch, d) with a small d lies in memory sample by sample, so that vector instructions would have to
run along d, or gather. As d tensors of shape (batch, 1) it is the same numbers, over which everything runs at full
width; and what belongs to a sample has that shape too. A field is handed the whole state, and returns a whole one:
`CancelColumns` takes out of a compiled program what is joined only to be taken apart again.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

NARROW = 4
"""The most entries of a state that is taken by columns; the program grows with them."""

Parts: TypeAlias = tuple[Tensor, ...]
"""A state: itself alone, of shape (batch, …), or its columns, each of shape (batch, 1)."""


def is_narrow(x: Tensor) -> bool:
    """Whether samples are so small that a CPU's vector instructions would be idle if they ran along one of them."""
    return x.device.type == "cpu" and x.dim() == 2 and 1 < x.shape[1] <= NARROW


def columns(x: Tensor) -> Parts:
    """A state of shape (batch, d) as d tensors of shape (batch, 1)."""
    return torch.split(x, 1, dim=1)


def joined(parts: Parts) -> Tensor:
    """The state that these are the parts of."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
