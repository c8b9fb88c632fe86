"""Streams of random numbers differ for different seeds, purposes and places in the run."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from odenet.data.seeds import seeded_generator


def stream(seed: int, purpose: str, *index: int) -> tuple[float, ...]:
    return tuple(torch.rand(4, generator=seeded_generator(seed, purpose, *index)).tolist())


def test_no_two_seeds_purposes_or_places_share_a_stream() -> None:
    seeds, purposes = [0, 1, 2, 5, 2**32 + 1, 2**64 - 1], ["order", "augmentation"]
    places = [(), *itertools.product(range(5)), *itertools.product(range(5), range(5))]
    streams = {stream(*words, *place) for words in itertools.product(seeds, purposes) for place in places}
    assert len(streams) == len(seeds) * len(purposes) * len(places)


def test_a_seed_of_two_words_is_not_a_seed_of_one_word_in_another_epoch() -> None:
    # Plain concatenation of the words would take seed 1 + 5·2³² for seed 1 followed by 5.
    assert stream(1 + 5 * 2**32, "order", 0) != stream(1, "order", 5, 0)


def test_a_stream_does_not_depend_on_the_global_generator() -> None:
    torch.manual_seed(0)
    first = stream(3, "order", 1)
    torch.rand(5)
    assert stream(3, "order", 1) == first


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    stream(3, "order", 1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("seed", "error"), [(-1, ValueError), (2**64, ValueError), (0.5, TypeError), ("0", TypeError)])
def test_a_seed_that_is_no_unsigned_number_of_64_bits_is_refused(seed: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"seed must be .* unsigned number of 64 bits"):
        seeded_generator(seed, "order")
