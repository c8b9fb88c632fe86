"""Fixed steps: one of them, and many of them as compiled programs.

A solve of few steps is one program, its times compiled in. One of many is cut into chunks of about as many steps each.
On every piece of θ, a chunk's clock starts at zero; so chunks of as many steps of the same length are the same function
of their branches, of the times at which their clocks were started, and of the state. One graph serves them all, and a
thousand steps take no longer to compile than twenty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from odenet.blocks.field import Field
from odenet.blocks.solvers.runge_kutta import RungeKutta, Solver
from odenet.blocks.stepping.base import FixedStep, Projection, carries_x_alone, spans
from odenet.blocks.theta.base import Piece, Time, match_requires_grad

EVALUATIONS_PER_GRAPH = 10
"""Approximate number of evaluations of F in a chunk. Each takes a second or so to compile, and to call a program takes
as long as a few operations do, so more of them gain little."""

EVALUATIONS_PER_GRAPH_ON_CUDA = 2
"""The same number on CUDA for images, where the kernels of a convolution are not fused with those of the next branch.
ResNet-110 is 468 operations to trace; in chunks, those of two branches are compiled for a whole stage."""

MAX_GRAPHS = 8
"""At most for one solve, for each is compiled by itself."""


class TooManyPrograms(Exception):  # noqa: N818 (a state of affairs)
    """Steps that are too many, and too different from each other, to be compiled."""


class StepInterval(NamedTuple):
    """A step from t0 to t1 on one of the pieces of a chunk, where an evaluation of F counts `cost`."""

    piece: int
    cost: int
    t0: float
    t1: float


class Chunk(NamedTuple):
    """Steps that one program takes.

    Args:
        pieces: that they lie on.
        intervals: of the steps, each on the clock of its piece, or in depth-time.
        clocks: for each piece the time when its clock was at zero; none where intervals are in depth-time.
    """

    pieces: Sequence[Piece]
    intervals: tuple[StepInterval, ...]
    clocks: list[float]

    @property
    def key(self) -> Hashable:
        """What distinguishes its program from others: any module may be a branch, but of other fields each its own."""
        return self.intervals, *(None if isinstance(piece.field, nn.Module) else piece.start for piece in self.pieces)


def integrate_compiled(
    solver: Solver, per_piece: int, pieces: Sequence[Piece], field: Field, x: Tensor, projection: Projection | None
) -> Tensor:
    """x(T) by programs of `field`, `per_piece` steps on each of the pieces.

    Raises:
        TooManyPrograms: many pieces, and fields on them that are no modules.
    """
    chunks = _chunks(pieces, per_piece, max(1, _evaluations_in_a_chunk(x) // _stages(solver)))
    if len({chunk.key for chunk in chunks}) > MAX_GRAPHS:
        raise TooManyPrograms
    solver, alike = solver.fitted(len(pieces) * per_piece), carries_x_alone(solver)
    state: Any = x if len(chunks) == 1 else match_requires_grad(x, pieces)
    for chunk in chunks:
        ends = (alike or chunk is chunks[0], alike or chunk is chunks[-1])
        key = ("fixed steps", solver, projection, ends, chunk.key)
        program = field.program(key, _program(solver, projection, chunk.intervals, *ends))
        state, evaluations = program([piece.field for piece in chunk.pieces], _on_device(chunk.clocks, x), state)
        field.evaluations += evaluations
    return state


def _evaluations_in_a_chunk(x: Tensor) -> int:
    return EVALUATIONS_PER_GRAPH_ON_CUDA if x.device.type == "cuda" and x.dim() > 2 else EVALUATIONS_PER_GRAPH


def _on_device(clocks: Sequence[float], x: Tensor) -> Tensor | None:
    """Return the clocks in a tensor like x, filled there: the host waits for a copy, and no CUDA graph can hold one."""
    if not clocks:
        return None
    return torch.cat([torch.full((1,), t, dtype=x.dtype, device=x.device) for t in clocks])


def _chunks(pieces: Sequence[Piece], per_piece: int, size: int) -> list[Chunk]:
    """Whole pieces, or parts of one, of about `size` steps; their numbers of steps differ as little as can be."""
    costs = [1 if piece.nodes else 0 for piece in pieces]
    if len(pieces) * per_piece <= 2 * size:
        times = [(i, span) for i, piece in enumerate(pieces) for span in spans(piece.start, piece.end, per_piece)]
        return [Chunk(pieces, tuple(StepInterval(i, costs[i], *span) for i, span in times), [])]
    steps, chunks = _steps_on(pieces, per_piece), []
    for group in _parts(len(pieces), max(1, size // per_piece)):
        for part in _parts(per_piece, size):
            intervals = (
                StepInterval(i - group.start, costs[i], steps[i] * k, steps[i] * (k + 1))
                for i in group
                for k in range(len(part))
            )
            clocks = [pieces[i].start + steps[i] * part.start for i in group]
            chunks.append(Chunk([pieces[i] for i in group], tuple(intervals), clocks))
    return chunks


def _parts(number: int, size: int) -> list[range]:
    """0, …, number - 1 in runs of at most `size`: of one length if twice as many allow it, or else of two."""
    fewest = -(-number // size)
    runs = next((runs for runs in range(fewest, 2 * fewest + 1) if number % runs == 0), fewest)
    return [range(start, end) for start, end in pairwise(number * k // runs for k in range(runs + 1))]


def _steps_on(pieces: Sequence[Piece], per_piece: int) -> list[float]:
    """The step on each piece; the same number where they are to rounding, as those of equal parts of [0, T] are."""
    steps: list[float] = []
    for piece in pieces:
        h = (piece.end - piece.start) / per_piece
        steps.append(next((other for other in steps if math.isclose(h, other, rel_tol=1e-12)), h))
    return steps


def _program(
    solver: Solver, projection: Projection | None, intervals: Sequence[StepInterval], first: bool, last: bool
) -> Callable[[list[Any], Tensor | None, Any], tuple[Any, int]]:
    """(branches, clocks, state) ↦ the state after the steps, and the number of evaluations of F."""
    steps = [FixedStep(solver, interval.t0, interval.t1, projection) for interval in intervals]
    steps[0] = steps[0]._replace(first=first)
    steps[-1] = steps[-1]._replace(last=last)

    def program(branches: list[Any], clocks: Tensor | None, state: Any) -> tuple[Any, int]:
        f = Field("a compiled block")
        for interval, step in zip(intervals, steps, strict=True):
            branch, f.cost = branches[interval.piece], interval.cost
            f.branch = branch if clocks is None else _delayed(branch, clocks[interval.piece])
            state = step(f, state)
        return state, f.evaluations

    return program


def _delayed(branch: Callable[[Time, Tensor], Tensor], start: Tensor) -> Callable[[Time, Tensor], Tensor]:
    return lambda t, x: branch(start + t, x)


def _stages(solver: Solver) -> int:
    return solver.stages if isinstance(solver, RungeKutta) else 2
