"""Stepping: where the steps of a solve lie; beforehand here (`FixedSteps`), by error control in `adaptive.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from torch import Tensor

from odenet.blocks import bridge
from odenet.blocks.annotations import Inside
from odenet.blocks.arguments import checked
from odenet.blocks.field import Field
from odenet.blocks.fixed_steps import (
    FixedStep,
    Projection,
    TooManyPrograms,
    carries_x_alone,
    integrate_compiled,
    spans,
)
from odenet.blocks.solvers import Euler, RungeKutta, Solver, VectorField, solver_named
from odenet.blocks.theta import Piece


class Step(NamedTuple):
    """A step of a solve: the piece of θ that it lies on, and `advance(f, state)`, the state after it from that before.

    The state before the first step is x(0), that after the last is x(T); between them it is what the solver carries.
    """

    piece: Piece
    advance: Callable[[VectorField, Any], Any]


class Plan(NamedTuple):
    """The steps of a solve. Where they had to be taken to be known, also the states before each of them, and x(T)."""

    steps: list[Step]
    states: list[Any] | None = None
    end: Tensor | None = None


class Stepping(ABC):
    """How an initial-value problem is cut into steps and solved, piece by piece."""

    @abstractmethod
    def integrate(self, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None) -> Tensor:
        """x(T) from x(0), differentiable by backpropagation through the solver's own operations."""

    @abstractmethod
    def integrate_with_adjoint(
        self, pieces: Iterable[Piece], field: Field, x: Tensor, backward: Mapping[str, Any]
    ) -> Tensor:
        """x(T) from x(0) by torchdiffeq, its gradient by the continuous adjoint equation."""

    @abstractmethod
    def plan(self, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None) -> Plan:
        """The steps by which `integrate` arrives at x(T), each to be taken again by itself. Called without a tape."""

    def check_projection(self, projection: Projection | None) -> None:  # noqa: B027 (most have nothing to refuse)
        """Raise a `ValueError` where this stepping cannot project after each step."""

    def check_plan(self) -> None:  # noqa: B027
        """Raise a `ValueError` where a solve is no chain of steps that could be taken again one by one."""

    def check_adjoint(self) -> None:  # noqa: B027
        """Raise a `ValueError` where this stepping cannot solve the continuous adjoint equation."""


def steps_on(times: Sequence[tuple[Piece, Any, Any]], solver: Solver, projection: Projection | None) -> list[Step]:
    """Steps whose piece, start and end are known; the first one starts the solver, and the last one finishes it."""
    last = len(times) - 1
    return [
        Step(piece, FixedStep(solver, t0, t1, projection, k == 0, k == last)) for k, (piece, t0, t1) in enumerate(times)
    ]


class FixedSteps(Stepping):
    """`per_piece` equal steps of `solver` on every piece of θ: h = T/(pieces·per_piece).

    Time is counted in integers and Python floats, so nothing waits for the device and a whole integration compiles as
    one graph.

    >>> from odenet import Midpoint
    >>> FixedSteps(Midpoint(), per_piece=4)
    FixedSteps(Midpoint(), per_piece=4)

    Args:
        solver: a `Solver`, or its name in `SOLVERS`.
        per_piece: number of steps on a piece, a positive whole number.
    """

    @checked
    def __init__(self, solver: Annotated[Solver | str | None, Inside()] = None, per_piece: int = 1) -> None:
        solver = Euler() if solver is None else solver_named(solver) if isinstance(solver, str) else solver
        if not isinstance(solver, Solver):
            raise TypeError(
                f"FixedSteps was given {solver!r} as its solver; it steps with a Solver object: pass e.g. Euler() or "
                "'midpoint'."
            )
        self.solver = solver
        self.per_piece = per_piece

    def integrate(self, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None) -> Tensor:
        """x(T) by `per_piece` steps on each piece."""
        pieces = list(pieces)
        if field.programs is not None:
            try:
                return integrate_compiled(self.solver, self.per_piece, pieces, field, x, projection)
            except TooManyPrograms:
                field.run_uncompiled(
                    f"θ has a field of its own on each of {len(pieces)} pieces, and every one would be compiled",
                    "use Constant, PiecewiseConstant or Galerkin, or fewer pieces",
                )
            except (TypeError, ValueError):
                field.evaluations = 0  # of the branch: the steps below come upon it too, and say where
        # As `steps` says, without two objects a step: beside small branches they are what a block costs over a loop.
        solver = self.solver.fitted(len(pieces) * self.per_piece)
        state: Any = None
        for piece in pieces:
            field.enter(piece)
            for t0, t1 in self.spans(piece):
                field.step += 1
                state = solver.start(field, t0, x) if state is None else state
                state = solver.step(field, t0, t1, state)
                state = state if projection is None else projection(state)
        return x if state is None else solver.finish(state)  # stochastic depth may skip every piece

    def steps(self, pieces: Iterable[Piece], projection: Projection | None) -> list[Step]:
        """The steps in order; the first one starts the solver, and the last one finishes it."""
        times = [(piece, t0, t1) for piece in pieces for t0, t1 in self.spans(piece)]
        return steps_on(times, self.solver.fitted(len(times)), projection)

    def spans(self, piece: Piece) -> list[tuple[float, float]]:
        """Start and end of each step on a piece; the ends of the piece are among them exactly."""
        return spans(piece.start, piece.end, self.per_piece)

    def plan(self, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None) -> Plan:  # noqa: ARG002
        """The steps, which are known without taking them."""
        return Plan(self.steps(pieces, projection))

    def integrate_with_adjoint(
        self, pieces: Iterable[Piece], field: Field, x: Tensor, backward: Mapping[str, Any]
    ) -> Tensor:
        """x(T) by the same steps; backwards, the augmented state is solved with the same solver and steps."""
        del backward  # refused by `ContinuousAdjoint.check`
        request = bridge.fixed_request(self._runge_kutta(), self.per_piece)
        for piece in pieces:
            field.enter(piece)
            x, _ = bridge.solve_adjoint(field, piece, x, request, {})
        return x

    def check_projection(self, projection: Projection | None) -> None:
        """A projection acts on x, so the solver's state has to be x."""
        if projection is not None and not carries_x_alone(self.solver):
            raise ValueError(
                f"projection = {projection!r} was asked for with {self.solver!r}, which carries more than x from step "
                "to step; projecting a part of it breaks the method: use a Runge-Kutta solver, or no projection."
            )

    def check_adjoint(self) -> None:
        """Only a Runge-Kutta method can step the augmented state."""
        self._runge_kutta()

    def _runge_kutta(self) -> RungeKutta:
        if not isinstance(self.solver, RungeKutta):
            raise ValueError(
                f"ContinuousAdjoint was asked for with {self.solver!r}; the augmented state is stepped by a "
                "Runge-Kutta method: use one, or Backprop()."
            )
        return self.solver

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FixedSteps) and (self.solver, self.per_piece) == (other.solver, other.per_piece)

    def __hash__(self) -> int:
        return hash((self.solver, self.per_piece))

    def __repr__(self) -> str:
        return f"FixedSteps({self.solver!r}, per_piece={self.per_piece})"
