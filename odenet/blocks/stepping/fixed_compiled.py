"""Fixed steps as compiled programs.

A solve of few steps is one program, with the times as constants. A solve of many steps is divided into chunks of about
equal numbers of steps. Within a chunk, time is counted from the start of the chunk on each piece of θ. So chunks with
the same number of steps of the same length are the same function of their branches, start times and state, and share
one graph: a thousand steps take no longer to compile than twenty.
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
from odenet.blocks.stepping.base import FixedStep, Projection, spans, state_is_x
from odenet.blocks.theta.base import Piece, Time, match_requires_grad

EVALUATIONS_PER_GRAPH = 10
"""Approximate number of evaluations of F in a chunk. Each takes about a second to compile, and a call of a program
takes as long as a few operations, so larger chunks gain little."""

EVALUATIONS_PER_GRAPH_ON_CUDA = 2
"""Approximate number of evaluations of F in a chunk on CUDA for images, whose convolutions are not fused across
branches. ResNet-110 has 468 operations to trace; with this number, two branches per stage are compiled."""

MAX_GRAPHS = 8
"""Largest number of graphs of one solve, because each is compiled separately."""


class TooManyPrograms(Exception):  # noqa: N818 (not an error: the caller runs the steps eagerly)
    """Raised if a solve would need more than `MAX_GRAPHS` programs, because its steps differ too much."""


class StepInterval(NamedTuple):
    """A step from t0 to t1 on the piece of a chunk with index `piece`; an evaluation of F there counts as `cost`."""

    piece: int
    cost: int
    t0: float
    t1: float


class Chunk(NamedTuple):
    """Steps that one program takes.

    Args:
        pieces: pieces of θ on which the steps lie.
        intervals: intervals of the steps, relative to the start time of their piece.
        starts: start time of the chunk on each piece; empty if the intervals are in depth-time.
    """

    pieces: Sequence[Piece]
    intervals: tuple[StepInterval, ...]
    starts: list[float]

    @property
    def key(self) -> Hashable:
        """Key of the program: modules are arguments of a program, but a field that is not a module needs its own."""
        return self.intervals, *(None if isinstance(piece.field, nn.Module) else piece.start for piece in self.pieces)


def integrate_compiled(
    solver: Solver, per_piece: int, pieces: Sequence[Piece], field: Field, x: Tensor, projection: Projection | None
) -> Tensor:
    """Compute x(T) by compiled programs, with `per_piece` steps on each piece.

    Args:
        solver: solver that takes the steps.
        per_piece: number of steps on each piece.
        pieces: pieces of θ.
        field: vector field, which keeps the programs and counts the evaluations.
        x: initial state x(0).
        projection: projection applied to x after every step, or None.

    Raises:
        TooManyPrograms: if there are many pieces whose fields are not modules.
    """
    chunks = _chunks(pieces, per_piece, max(1, _evaluations_in_a_chunk(x) // _stages(solver)))
    if len({chunk.key for chunk in chunks}) > MAX_GRAPHS:
        raise TooManyPrograms
    solver, is_uniform = solver.fitted(len(pieces) * per_piece), state_is_x(solver)
    state: Any = x if len(chunks) == 1 else match_requires_grad(x, pieces)
    for chunk in chunks:
        ends = (is_uniform or chunk is chunks[0], is_uniform or chunk is chunks[-1])
        key = ("fixed steps", solver, projection, ends, chunk.key)
        program = field.program(key, _program(solver, projection, chunk.intervals, *ends))
        state, evaluations = program([piece.field for piece in chunk.pieces], _on_device(chunk.starts, x), state)
        field.evaluations += evaluations
    return state


def _evaluations_in_a_chunk(x: Tensor) -> int:
    return EVALUATIONS_PER_GRAPH_ON_CUDA if x.device.type == "cuda" and x.dim() > 2 else EVALUATIONS_PER_GRAPH


def _on_device(starts: Sequence[float], x: Tensor) -> Tensor | None:
    """Return the start times as a tensor like x; filled on the device, because a copy would make the host wait."""
    if not starts:
        return None
    return torch.cat([torch.full((1,), t, dtype=x.dtype, device=x.device) for t in starts])


def _chunks(pieces: Sequence[Piece], per_piece: int, size: int) -> list[Chunk]:
    """Return chunks of about `size` steps, each of whole pieces or of a part of one, with few different lengths."""
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
            starts = [pieces[i].start + steps[i] * part.start for i in group]
            chunks.append(Chunk([pieces[i] for i in group], tuple(intervals), starts))
    return chunks


def _parts(number: int, size: int) -> list[range]:
    """Divide 0, …, number - 1 into runs of at most `size`.

    All runs have one length if that needs at most twice as many runs as necessary; otherwise there are two lengths.
    """
    fewest = -(-number // size)
    runs = next((runs for runs in range(fewest, 2 * fewest + 1) if number % runs == 0), fewest)
    return [range(start, end) for start, end in pairwise(number * k // runs for k in range(runs + 1))]


def _steps_on(pieces: Sequence[Piece], per_piece: int) -> list[float]:
    """Return the step on each piece; steps that differ by rounding only are made equal, to share programs."""
    steps: list[float] = []
    for piece in pieces:
        h = (piece.end - piece.start) / per_piece
        steps.append(next((other for other in steps if math.isclose(h, other, rel_tol=1e-12)), h))
    return steps


def _program(
    solver: Solver, projection: Projection | None, intervals: Sequence[StepInterval], first: bool, last: bool
) -> Callable[[list[Any], Tensor | None, Any], tuple[Any, int]]:
    """Return the program (branches, starts, state) ↦ (state after the steps, number of evaluations of F)."""
    steps = [FixedStep(solver, interval.t0, interval.t1, projection) for interval in intervals]
    steps[0] = steps[0]._replace(first=first)
    steps[-1] = steps[-1]._replace(last=last)

    def program(branches: list[Any], starts: Tensor | None, state: Any) -> tuple[Any, int]:
        f = Field("a compiled block")
        for interval, step in zip(intervals, steps, strict=True):
            branch, f.cost = branches[interval.piece], interval.cost
            f.branch = branch if starts is None else _delayed(branch, starts[interval.piece])
            state = step(f, state)
        return state, f.evaluations

    return program


def _delayed(branch: Callable[[Time, Tensor], Tensor], start: Tensor) -> Callable[[Time, Tensor], Tensor]:
    return lambda t, x: branch(start + t, x)


def _stages(solver: Solver) -> int:
    return solver.stages if isinstance(solver, RungeKutta) else 2
