"""The batch normalizations of a network during a recalibration, and their statistics before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from odenet.blocks.statistics.flow import FlowWithStatistics
from odenet.blocks.statistics.tables import is_tracking

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Names of the buffers of a batch normalization."""


@contextmanager
def normalizing_by_batch(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Let the normalizations normalize by the batch, and average their statistics over all batches."""
    former = [(norm, norm.training, norm.momentum) for norm in norms]
    try:
        for norm in norms:
            norm.training, norm.momentum = True, None
        yield
    finally:
        for norm, training, momentum in former:
            norm.training, norm.momentum = training, momentum


@contextmanager
def own_buffers_lent(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Let the normalizations work on new buffers, and give them their own ones back."""
    own = [{name: norm._buffers[name] for name in STATISTICS} for norm in norms]
    try:
        for norm in norms:
            norm._buffers["running_mean"] = torch.zeros_like(norm.get_buffer("running_mean"))
            norm._buffers["running_var"] = torch.ones_like(norm.get_buffer("running_var"))
            norm._buffers["num_batches_tracked"] = torch.zeros_like(norm.get_buffer("num_batches_tracked"))
        yield
    finally:
        for norm, buffers in zip(norms, own, strict=True):
            norm._buffers.update(buffers)


class Snapshot:
    """The statistics of all normalizations of a network, to be put back later.

    Args:
        net: network.
    """

    def __init__(self, net: nn.Module) -> None:
        modules = list(net.modules())
        self._norms: list[Any] = [module for module in modules if is_tracking(module)]
        self._values = [[norm.get_buffer(name).clone() for name in STATISTICS] for norm in self._norms]
        self._flows = [
            (flow, flow.statistics, flow._collected_for) for flow in modules if isinstance(flow, FlowWithStatistics)
        ]

    @torch.no_grad()
    def restore(self) -> None:
        """Put the statistics back."""
        for norm, values in zip(self._norms, self._values, strict=True):
            for name, value in zip(STATISTICS, values, strict=True):
                norm.get_buffer(name).copy_(value)
        for flow, statistics, collected_for in self._flows:
            flow.statistics, flow._collected_for = statistics, collected_for
