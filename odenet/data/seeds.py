"""Independent streams of random numbers, each a pure function of a seed and of the use of the numbers."""

from __future__ import annotations

import zlib

import numpy as np
import torch

from odenet.data.counts import whole_number

_LARGEST = 2**64 - 1


def seeded_generator(seed: int, purpose: str, *index: int) -> torch.Generator:
    """Return a `torch.Generator` on the CPU whose stream depends only on (seed, purpose, index).

    A sum such as `seed + epoch` gives (seed 0, epoch 1) and (seed 1, epoch 0) the same numbers. Here the words are
    hashed (`numpy.random.SeedSequence`), so that streams differ and none depends on earlier draws. Torch keeps 32 bits
    of a generator's seed, so two of k streams coincide with probability k²/2³³, but never systematically.

    Args:
        seed: Seed of the run, 0 ≤ seed < 2⁶⁴.
        purpose: Use of the numbers, e.g. `"augmentation"`.
        index: Place in the run, e.g. epoch and batch: whole numbers, 0 ≤ i < 2³².

    Raises:
        TypeError: if the seed is not a whole number.
        ValueError: if the seed is negative or does not fit in 64 bits.

    >>> torch.rand(2, generator=seeded_generator(0, "demonstration", 3)).tolist() == torch.rand(
    ...     2, generator=seeded_generator(0, "demonstration", 3)).tolist()
    True
    """
    seed = whole_number("seed", seed, 0, _LARGEST, because="a seed is an unsigned number of 64 bits")
    # SeedSequence pads the seed to four words before the key, so a long seed is never taken for a short one with a key.
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(purpose.encode()), *index))
    return torch.Generator().manual_seed(int(sequence.generate_state(1)[0]))
