"""Global random generators are seeded, saved and restored together."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import pytest
import torch

from odenet.training import seed_everything
from odenet.training.randomness import deterministic_algorithms, random_states, restore_random_states

CPU = torch.device("cpu")


def draw() -> tuple[float, ...]:
    normal = float(np.random.normal())  # noqa: NPY002  (of a pair, NumPy keeps the second for later)
    return random.random(), random.gauss(0, 1), normal, float(torch.randn(())), float(torch.rand(()))


def test_a_seed_decides_all_generators() -> None:
    seed_everything(3)
    first = draw()
    seed_everything(3)
    assert draw() == first
    seed_everything(4)
    assert not set(draw()) & set(first)


@pytest.mark.parametrize("draws", [0, 1, 700])
def test_states_go_through_a_file_and_give_the_same_numbers_again(draws: int) -> None:
    seed_everything(0)
    for _ in range(draws):
        draw()
    file = io.BytesIO()
    torch.save(random_states(CPU), file)
    expected = [draw() for _ in range(5)]
    seed_everything(1)
    file.seek(0)
    restore_random_states(torch.load(file, weights_only=True), CPU)
    assert [draw() for _ in range(5)] == expected


@pytest.mark.parametrize(("seed", "error"), [(-1, ValueError), (2**32, ValueError), (0.5, TypeError)])
def test_a_seed_that_is_none_is_refused(seed: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"seed.*{seed}"):
        seed_everything(seed)


@pytest.mark.parametrize("before", [True, False])
def test_determinism_is_asked_of_torch_and_taken_back(before: bool) -> None:
    torch.use_deterministic_algorithms(before)
    try:
        with deterministic_algorithms(True):
            assert torch.are_deterministic_algorithms_enabled()
        assert torch.are_deterministic_algorithms_enabled() is before
        with deterministic_algorithms(False):
            assert torch.are_deterministic_algorithms_enabled() is before  # the setting of the user is restored
    finally:
        torch.use_deterministic_algorithms(False)
