"""Global random generators of Python, NumPy and torch, seeded, saved and restored together."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from odenet.blocks.annotations import Whole
from odenet.blocks.arguments import checked
from odenet.data.counts import whole_number

_LARGEST = 2**32 - 1


@checked
def seed_everything(seed: Whole) -> None:
    """Seed all global generators; called before a model is built, it makes the weights a function of the seed.

    Args:
        seed: Seed of all generators, 0 ≤ seed < 2³².

    Raises:
        TypeError: if the seed is not a whole number.
        ValueError: if the seed is out of range.
    """
    seed = whole_number("seed", seed, 0, _LARGEST, because="NumPy's global generator takes 32 bits")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (other libraries draw from it)
    torch.manual_seed(seed)


def random_states(device: torch.device) -> dict[str, Any]:
    """Return the states of all global generators, as data that `torch.load(weights_only=True)` reads."""
    numpy: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    key = torch.from_numpy(numpy["state"]["key"].astype(np.int64))
    return {
        "python": random.getstate(),
        "numpy": numpy | {"state": numpy["state"] | {"key": key}},
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Restore the states of all global generators that `random_states` returned."""
    random.setstate(states["python"])
    key = states["numpy"]["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state(states["numpy"] | {"state": states["numpy"]["state"] | {"key": key}})  # noqa: NPY002
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"], device)


@contextmanager
def random_numbers_kept(device: torch.device) -> Iterator[None]:
    """Restore the present states of all global generators when the context ends."""
    states = random_states(device)
    try:
        yield
    finally:
        restore_random_states(states, device)


@contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """Make torch refuse nondeterministic algorithms, which only accelerators have, within the context."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
