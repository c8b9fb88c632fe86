"""Positions in a solve: how often each piece of θ was evaluated so far, with snapshots for a gradient method.

Statistics of a normalization belong to an evaluation, which is known by its number on its piece. A gradient method that
evaluates a step again in the backward pass first restores the numbers that the forward pass had before that step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Positions:
    """Numbers of evaluations on the pieces of one forward pass, with snapshots of them.

    Args:
        pieces: number of pieces of θ.
    """

    def __init__(self, pieces: int) -> None:
        self._counts: list[int] | None = [0] * pieces
        self._snapshots: list[list[int]] = []

    def next(self, piece: int) -> int | None:
        """Count one evaluation on a piece, and return its number there from 0; None after `forget`."""
        if self._counts is None:
            return None
        number = self._counts[piece]
        self._counts[piece] = number + 1
        return number

    def forget(self) -> None:
        """Declare that evaluations from now on are none of those of the forward pass, as in a backward solve."""
        self._counts = None

    def record(self) -> None:
        """Take a snapshot; snapshots are numbered from 0."""
        if self._counts is not None:
            self._snapshots.append(list(self._counts))

    def clear(self) -> None:
        """Discard all snapshots."""
        self._snapshots.clear()

    def restore(self, snapshot: int) -> None:
        """Set the numbers to those of a snapshot."""
        if self._counts is not None:
            self._counts = list(self._snapshots[snapshot])

    @contextmanager
    def preserved(self) -> Iterator[None]:
        """Restore the present numbers at the exit of the context."""
        counts = None if self._counts is None else list(self._counts)
        try:
            yield
        finally:
            self._counts = counts
