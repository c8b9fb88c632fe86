"""Snapshots of the random generators of a forward pass, so that dropout draws the same masks again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Generators:
    """The default generators of the CPU and of `device`, with snapshots of their states.

    A state of the CPU's generator takes 5 KB. Snapshots between which nothing was drawn share one copy, so a flow
    without randomness stores a single state, however many snapshots are taken.
    """

    def __init__(self, device: torch.device) -> None:
        self._devices = [torch.device("cpu"), *([] if device.type == "cpu" else [device])]
        self._snapshots: list[list[Tensor]] = []

    def record(self) -> None:
        """Take a snapshot of the present states; snapshots are numbered from 0."""
        states = [_state(device) for device in self._devices]
        if self._snapshots and all(map(torch.equal, states, self._snapshots[-1])):
            states = self._snapshots[-1]
        self._snapshots.append(states)

    def clear(self) -> None:
        """Discard all snapshots."""
        self._snapshots.clear()

    def restore(self, snapshot: int) -> None:
        """Restore the states of a snapshot, so that the same numbers are drawn again, if anything was drawn at all."""
        if not self.changed:
            return
        for device, state in zip(self._devices, self._snapshots[snapshot], strict=True):
            _set_state(device, state)

    @property
    def changed(self) -> bool:
        """Whether anything was drawn between the first snapshot and the last."""
        return self._snapshots[0] is not self._snapshots[-1]

    @contextmanager
    def preserved(self) -> Iterator[None]:
        """Restore, at the exit of the context, the states that the generators had at its entry."""
        states = [_state(device) for device in self._devices]
        try:
            yield
        finally:
            for device, state in zip(self._devices, states, strict=True):
                _set_state(device, state)


def _state(device: torch.device) -> Tensor:
    return torch.get_rng_state() if device.type == "cpu" else torch.get_device_module(device).get_rng_state(device)


def _set_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cpu":
        torch.set_rng_state(state)
    else:
        torch.get_device_module(device).set_rng_state(state, device)
