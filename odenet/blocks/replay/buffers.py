"""Snapshots of the buffers that a branch may read and change, taken during a solve.

Examples are a user-defined running mean, the vectors of a spectral norm and the ranges of a quantization observer. When
the branch is evaluated a second time, these buffers must have their former values. Standard normalizations are left
out: in training mode they do not read their running statistics, and in evaluation mode they do not change them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from odenet.blocks.theta.combination import is_standard_norm


class _Snapshot(NamedTuple):
    """A snapshot: copies of the buffers, and identities and versions that show whether they have changed since."""

    values: list[Tensor]
    versions: list[tuple[int, int]]


class Buffers:
    """The buffers of modules, except those of standard normalizations, with snapshots of their values.

    Snapshots between which nothing changed share one copy, so buffers that do not change are copied once.

    Args:
        modules: modules whose own buffers are recorded, without those of submodules.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._places = [
            (module, name)
            for module in modules
            if module._buffers and not is_standard_norm(module)
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]
        self._snapshots: list[_Snapshot] = []

    def record(self) -> None:
        """Take a snapshot of the present values; snapshots are numbered from 0."""
        if self._places:
            self._snapshots.append(self._snapshot(self._snapshots[-1] if self._snapshots else None))

    def clear(self) -> None:
        """Discard all snapshots."""
        self._snapshots.clear()

    @property
    def changed(self) -> bool:
        """Whether any buffer changed between the first snapshot and the last."""
        return bool(self._places) and self._snapshots[0].values is not self._snapshots[-1].values

    def describe_change(self) -> str:
        """Return a description of a buffer that changed: its name and the type of its module."""
        pairs = zip(self._snapshots[0].values, self._snapshots[-1].values, self._places, strict=True)
        module, name = next(place for before, after, place in pairs if not _equal(before, after))
        return f"{name!r} of a {type(module).__name__}"

    def restore(self, snapshot: int) -> None:
        """Within `rewound`, give the modules copies of the values of a snapshot, if any buffer changed at all."""
        if self.changed:
            self._lend(self._snapshots[snapshot].values)

    @contextmanager
    def rewound(self, *, always: bool = False) -> Iterator[None]:
        """Give the modules the values of the first snapshot within the context, and their own buffers back at its exit.

        Args:
            always: whether to use copies even if the buffers still have those values; if not, only an evaluation after
                `restore` may change buffers within the context.
        """
        own = [module._buffers[name] for module, name in self._places]
        try:
            if self._places and (always or self._snapshot(self._snapshots[0]).values is not self._snapshots[0].values):
                self._lend(self._snapshots[0].values)
            yield
        finally:
            for (module, name), buffer in zip(self._places, own, strict=True):
                module._buffers[name] = buffer

    def _lend(self, values: list[Tensor]) -> None:
        for (module, name), value in zip(self._places, values, strict=True):
            module._buffers[name] = value.clone()

    def _snapshot(self, before: _Snapshot | None) -> _Snapshot:
        buffers = [_buffer(module, name) for module, name in self._places]
        versions = [(id(buffer), buffer._version) for buffer in buffers]
        if before is not None and self._is_unchanged(buffers, versions, before):
            return _Snapshot(before.values, versions)
        return _Snapshot([buffer.detach().clone() for buffer in buffers], versions)

    @staticmethod
    def _is_unchanged(buffers: list[Tensor], versions: list[tuple[int, int]], before: _Snapshot) -> bool:
        if versions == before.versions and any(buffer.device.type != "cpu" for buffer in buffers):
            return True  # comparing values would synchronize with the device
        return all(map(_equal, buffers, before.values))


def buffers_of(nodes: Iterable[nn.Module]) -> Buffers:
    """Return the buffers of all modules in `nodes`, with a first snapshot of their present values."""
    buffers = Buffers(dict.fromkeys(module for node in nodes for module in node.modules()))
    buffers.record()
    return buffers


def _buffer(module: nn.Module, name: str) -> Tensor:
    buffer = module._buffers[name]
    return torch.empty(0) if buffer is None else buffer


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)
