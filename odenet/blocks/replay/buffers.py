"""The buffers that a branch may read and change, and their values at moments of a solve.

A running mean of one's own, the vectors of a spectral norm, the ranges of a quantization observer: where the branch is
evaluated a second time, they have to be what they were. Standard normalizations are left out: in training mode they
do not read their running statistics, and in evaluation mode they do not change them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from odenet.blocks.theta.combination import is_standard_norm


class _Moment(NamedTuple):
    """Copies of the buffers, and what tells that they are still the same."""

    values: list[Tensor]
    stamps: list[tuple[int, int]]


class Buffers:
    """The buffers of modules, but for those of standard normalizations, and their values at the moments noted.

    Moments between which nothing changed share the copies, so a branch whose buffers stay as they are costs one copy.

    Args:
        modules: whose own buffers these are.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._places = [
            (module, name)
            for module in modules
            if module._buffers and not is_standard_norm(module)
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]
        self._moments: list[_Moment] = []

    def note(self) -> None:
        """Remember the values of this moment; moments are numbered from 0."""
        if self._places:
            self._moments.append(self._now(self._moments[-1] if self._moments else None))

    def forget(self) -> None:
        """Forget all moments."""
        self._moments.clear()

    @property
    def moved(self) -> bool:
        """Whether any buffer changed between the first moment and the last."""
        return bool(self._places) and self._moments[0].values is not self._moments[-1].values

    def changed(self) -> str:
        """The name of a buffer that changed, with that of its module."""
        pairs = zip(self._moments[0].values, self._moments[-1].values, self._places, strict=True)
        module, name = next(place for before, after, place in pairs if not _equal(before, after))
        return f"{name!r} of a {type(module).__name__}"

    def turn_back(self, moment: int) -> None:
        """Give the modules copies of the values of a moment, if there was any change at all. Within `lent`."""
        if self.moved:
            self._lend(self._moments[moment].values)

    @contextmanager
    def lent(self, *, always: bool = False) -> Iterator[None]:
        """Within it modules have the values of the first moment; after it their own buffers, as they were before it.

        Args:
            always: lend copies also where the buffers have those values; else only an evaluation after `turn_back`
                may change them.
        """
        own = [module._buffers[name] for module, name in self._places]
        try:
            if self._places and (always or self._now(self._moments[0]).values is not self._moments[0].values):
                self._lend(self._moments[0].values)
            yield
        finally:
            for (module, name), buffer in zip(self._places, own, strict=True):
                module._buffers[name] = buffer

    def _lend(self, values: list[Tensor]) -> None:
        for (module, name), value in zip(self._places, values, strict=True):
            module._buffers[name] = value.clone()

    def _now(self, before: _Moment | None) -> _Moment:
        buffers = [_buffer(module, name) for module, name in self._places]
        stamps = [(id(buffer), buffer._version) for buffer in buffers]
        if before is not None and self._same(buffers, stamps, before):
            return _Moment(before.values, stamps)
        return _Moment([buffer.detach().clone() for buffer in buffers], stamps)

    @staticmethod
    def _same(buffers: list[Tensor], stamps: list[tuple[int, int]], before: _Moment) -> bool:
        if stamps == before.stamps and any(buffer.device.type != "cpu" for buffer in buffers):
            return True  # to compare values, the host would wait for the device
        return all(map(_equal, buffers, before.values))


def buffers_of(nodes: Iterable[nn.Module]) -> Buffers:
    """Those of all modules below `nodes`, noted as they are at this moment."""
    buffers = Buffers(dict.fromkeys(module for node in nodes for module in node.modules()))
    buffers.note()
    return buffers


def _buffer(module: nn.Module, name: str) -> Tensor:
    buffer = module._buffers[name]
    return torch.empty(0) if buffer is None else buffer


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)
