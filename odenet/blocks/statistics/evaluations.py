"""Fields whose normalizations have the statistics of each evaluation, and the collection of these statistics.

Within an evaluation of a branch the running statistics of its normalizations are replaced by a row of a table. A
normalization in evaluation mode reads the row; one in training mode, during the collection, moves it, by the same
operation of torch that moves its own running statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from odenet.blocks.replay.positions import Positions
from odenet.blocks.statistics.tables import Function, Moments, Statistics, norms_of
from odenet.blocks.theta.base import Piece, Time
from odenet.blocks.theta.combination import Combination

Buffers = Mapping[str, Tensor]
"""Tensors that take the place of buffers of a branch, by name."""


def evaluate(piece: Piece, t: Time, x: Tensor, buffers: Buffers) -> Tensor:
    """Evaluate the field of a piece at (t, x) with other tensors in the place of some buffers of its branch."""
    if isinstance(piece.field, Combination):
        return piece.field(t, x, buffers)
    if isinstance(piece.field, nn.Module):
        return functional_call(piece.field, dict(buffers), (t, x))
    with _lent(piece.nodes, buffers):
        return piece.field(t, x)


@contextmanager
def _lent(nodes: Sequence[nn.Module], buffers: Buffers) -> Iterator[None]:
    """Give the modules of the nodes other buffers within the context, for a field that is not a module itself."""
    places = [
        (node.get_submodule(path), name, buffer)
        for node in nodes
        for path, name, buffer in ((*full.rpartition(".")[::2], buffer) for full, buffer in buffers.items())
    ]
    own = [module._buffers[name] for module, name, _ in places]
    try:
        for module, name, buffer in places:
            module._buffers[name] = buffer
        yield
    finally:
        for (module, name, _), buffer in zip(places, own, strict=True):
            module._buffers[name] = buffer


class WithStatistics:
    """The field of a piece whose normalizations have the statistics of each evaluation.

    A normalization in evaluation mode reads them. One in training mode normalizes by the batch, and moves the row of
    the evaluation in the place of its own running statistics, if it is known which evaluation this is.

    Args:
        piece: piece of θ, with its own field.
        norms: normalizations of the branch by name.
        function: function that returns the statistics as functions of t.
        rows: statistics of each evaluation on the piece in order; None to use the functions.
        position: function that returns the number of the present evaluation on the piece, or None if it is unknown.
    """

    def __init__(
        self,
        piece: Piece,
        norms: Mapping[str, _BatchNorm],
        function: Callable[[], Function],
        rows: Moments | None,
        position: Callable[[], int | None],
    ) -> None:
        self.piece, self.norms, self.rows, self.position = piece, norms, rows, position
        self._make_function = function
        self._function: Function | None = None

    def __call__(self, t: Time, x: Tensor) -> Tensor:
        """Evaluate the field at (t, x)."""
        moments = self._moments(t)
        buffers = {}
        for name, (mean, var) in moments.items():
            buffers |= {f"{name}.running_mean": mean, f"{name}.running_var": var}
        return evaluate(self.piece, t, x, buffers)

    def _moments(self, t: Time) -> Moments:
        number = None if self.rows is None else self.position()
        if self.rows is not None and number is not None:
            rows = {name: self.rows[name] for name, norm in self.norms.items() if name in self.rows}
            if all(number < len(mean) for mean, _ in rows.values()):
                return {name: (mean[number], var[number]) for name, (mean, var) in rows.items()}
        reading = [name for name, norm in self.norms.items() if not norm.training]
        if not reading:
            return {}
        if self._function is None:
            self._function = self._make_function()
        moments = self._function.at(t)
        return {name: moments[name] for name in reading if name in moments}


def with_statistics(
    pieces: Sequence[Piece], statistics: Statistics, horizon: float, positions: Positions
) -> list[Piece]:
    """Return the pieces with fields that use the statistics of each evaluation, or functions of t.

    Args:
        pieces: all pieces of θ.
        statistics: statistics of the block.
        horizon: length of the interval of depth-time.
        positions: numbers of evaluations on the pieces; after `forget`, functions of t are used.
    """
    tables = statistics.tables
    found = []
    for index, piece in enumerate(pieces):
        field = WithStatistics(
            piece,
            dict(norms_of(piece.nodes[0])),
            partial(statistics.function, piece.start, piece.end, horizon),
            tables[index] if len(tables) == len(pieces) else None,
            partial(positions.next, index),
        )
        found.append(piece._replace(field=field, takes_one_time=True))
    return found


class _Row(NamedTuple):
    """Running statistics of a normalization at one evaluation, averaged over the batches so far."""

    mean: Tensor
    var: Tensor
    batches: Tensor


class Collector:
    """Collects the statistics of each evaluation over several batches.

    Args:
        label: name of the block in messages.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self.batches = 0
        self.times: list[list[float]] = []
        self.rows: list[list[dict[str, _Row]]] = []
        self.pieces: list[Piece] = []
        self._counts: list[int] = []

    def on(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return the pieces with fields that move the statistics of each evaluation by the next batch."""
        if not self.batches:
            self.pieces = list(pieces)
            self.times, self.rows = [[] for _ in pieces], [[] for _ in pieces]
        self._counts = [0] * len(pieces)
        return [
            piece._replace(field=lambda t, x, index=index, piece=piece: self._evaluate(index, piece, t, x))
            for index, piece in enumerate(pieces)
        ]

    def end_batch(self) -> None:
        """End a batch.

        Raises:
            ValueError: if the block made another number of evaluations than for the batches before.
        """
        self._require_same_number(all(count == len(rows) for count, rows in zip(self._counts, self.rows, strict=True)))
        self.batches += 1

    def _require_same_number(self, same: bool) -> None:
        if not same:
            raise ValueError(
                f"recalibrate was asked for {self.label}, which makes another number of evaluations for each batch, so "
                "they have no statistics of their own: use FixedSteps, or Adaptive."
            )

    def _evaluate(self, index: int, piece: Piece, t: Time, x: Tensor) -> Tensor:
        number = self._counts[index]
        self._counts[index] += 1
        if number == len(self.rows[index]):
            self._require_same_number(not self.batches)
            self.rows[index].append({name: _new_row(norm) for name, norm in norms_of(piece.nodes[0])})
            self.times[index].append(float(t))
        buffers = {}
        for name, row in self.rows[index][number].items():
            values = zip(("running_mean", "running_var", "num_batches_tracked"), row, strict=True)
            buffers |= {f"{name}.{kind}": tensor for kind, tensor in values}
        return evaluate(piece, t, x, buffers)


def _new_row(norm: Any) -> _Row:
    count = torch.zeros((), dtype=torch.long, device=norm.running_mean.device)
    return _Row(torch.zeros_like(norm.running_mean), torch.ones_like(norm.running_var), count)
