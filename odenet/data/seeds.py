"""Independent streams of random numbers, each a pure function of a seed and of what the numbers are for."""

from __future__ import annotations

import zlib

import numpy as np
import torch

from odenet.data.counts import whole_number

_LARGEST = 2**64 - 1


def seeded_generator(seed: int, purpose: str, *index: int) -> torch.Generator:
    """A `torch.Generator` on the CPU whose stream is a function of (seed, purpose, index) alone.

    Sums such as `seed + epoch` give (seed 0, epoch 1) and (seed 1, epoch 0) the same numbers; here the words are hashed
    (`numpy.random.SeedSequence`), so that streams differ and none depends on what was drawn before it. Torch keeps 32
    bits of a generator's seed: some two of k streams coincide with probability k²/2³³, by accident and not by pattern.

    Args:
        seed: The run's seed, 0 ≤ seed < 2⁶⁴.
        purpose: What the numbers are for, e.g. `"augmentation"`.
        index: Where in the run they are used, e.g. epoch and batch: whole numbers, 0 ≤ i < 2³².

    Raises:
        TypeError: The seed is not a whole number.
        ValueError: The seed is negative or does not fit in 64 bits.

    >>> torch.rand(2, generator=seeded_generator(0, "demonstration", 3)).tolist() == torch.rand(
    ...     2, generator=seeded_generator(0, "demonstration", 3)).tolist()
    True
    """
    seed = whole_number("seed", seed, 0, _LARGEST, because="a seed is an unsigned number of 64 bits")
    # SeedSequence pads the seed to four words before the key, so a long seed is never read as a short one with a key.
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(purpose.encode()), *index))
    return torch.Generator().manual_seed(int(sequence.generate_state(1)[0]))
