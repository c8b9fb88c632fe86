"""A row of random numbers depends only on the seed, the purpose and its own index."""

from __future__ import annotations

import pytest
import torch

from odenet.data.scenes.philox import indexed_uniforms


def test_a_row_is_the_same_in_whatever_company_it_is_asked_for() -> None:
    table = indexed_uniforms(3, "test", range(50), 7)
    assert torch.equal(indexed_uniforms(3, "test", [40, 2, 2], 7), table[[40, 2, 2]])
    assert torch.equal(indexed_uniforms(3, "test", [49], 7), table[49:])


def test_a_longer_row_begins_with_the_shorter_one() -> None:
    assert torch.equal(indexed_uniforms(0, "test", [5], 90)[:, :13], indexed_uniforms(0, "test", [5], 13))


def test_seeds_purposes_and_indices_have_no_number_in_common() -> None:
    rows = [indexed_uniforms(seed, purpose, range(4), 500) for seed in (0, 1) for purpose in ("training", "test")]
    numbers = torch.cat(rows).flatten()
    # Of 8,000 draws from 2²⁴ values, two are equal now and then: 1.9 pairs are expected.
    assert len(numbers.unique()) > len(numbers) - 12


def test_the_numbers_are_uniform() -> None:
    numbers = indexed_uniforms(0, "test", range(100), 1000)
    assert numbers.dtype == torch.float32
    assert float(numbers.min()) >= 0
    assert float(numbers.max()) < 1
    counts = (10 * numbers).long().flatten().bincount(minlength=10)
    assert (counts - 10_000).abs().max() < 4 * 95  # standard deviation √(10⁵·0.1·0.9)


def test_no_index_gives_no_row() -> None:
    assert indexed_uniforms(0, "test", [], 5).shape == (0, 5)


def test_the_largest_index_and_seed_have_a_row() -> None:
    last, one_before = indexed_uniforms(2**64 - 1, "test", [2**64 - 1, 2**64 - 2], 2)
    assert not torch.equal(last, one_before)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_bounds_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=f"seed must be .*, got {seed}: a seed is an unsigned number of 64 bits"):
        indexed_uniforms(seed, "test", [0], 1)


def test_a_seed_that_is_no_whole_number_is_refused() -> None:
    with pytest.raises(TypeError, match=r"seed must be a whole number .*, got 1\.5"):
        indexed_uniforms(1.5, "test", [0], 1)  # pyright: ignore[reportArgumentType]
