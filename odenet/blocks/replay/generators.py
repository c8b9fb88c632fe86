"""The random generators that a forward pass draws from: their states, so that dropout draws the same masks again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Generators:
    """The default generators of the CPU and of `device`, and their states at the moments that were noted.

    A state of the CPU's generator is 5 KB. Moments between which nothing was drawn share one, so a flow without
    randomness holds a single state however many moments there are.
    """

    def __init__(self, device: torch.device) -> None:
        self._devices = [torch.device("cpu"), *([] if device.type == "cpu" else [device])]
        self._moments: list[list[Tensor]] = []

    def note(self) -> None:
        """Remember the states of this moment; moments are numbered from 0."""
        states = [_state(device) for device in self._devices]
        if self._moments and all(map(torch.equal, states, self._moments[-1])):
            states = self._moments[-1]
        self._moments.append(states)

    def forget(self) -> None:
        """Forget all moments."""
        self._moments.clear()

    def turn_back(self, moment: int) -> None:
        """Let the generators draw again what they drew after a moment, if anything was drawn at all."""
        if not self.moved:
            return
        for device, state in zip(self._devices, self._moments[moment], strict=True):
            _set_state(device, state)

    @property
    def moved(self) -> bool:
        """Whether anything was drawn between the first moment and the last."""
        return self._moments[0] is not self._moments[-1]

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """At the end of it the generators are as they were at its beginning."""
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
