"""Stepping: how a solve is cut into steps, and the steps that solvers of fixed and of chosen steps have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

from odenet.blocks.field import Field
from odenet.blocks.solvers.reversible import ReversibleSolver
from odenet.blocks.solvers.runge_kutta import Solver, VectorField
from odenet.blocks.theta.base import Piece

Projection: TypeAlias = Callable[[Tensor], Tensor]
"""What is applied to x after every step: the ReLU after the addition in a post-activation ResNet."""


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


def projected_plan(plan: Plan, pieces: Sequence[Piece], x: Tensor, projection: Projection) -> Plan:
    """The plan with P before its first step and after each of them, from x(0) that is not projected yet.

    Args:
        plan: the steps, from P(x(0)).
        pieces: pieces of θ that they lie on.
        x: x(0).
        projection: P.
    """
    if not plan.steps:
        return Plan([Step(pieces[0], lambda _, state: projection(state))], [x], projection(x))
    (piece, advance), *others = (Step(piece, ProjectedStep(step, projection)) for piece, step in plan.steps)
    first = Step(piece, lambda f, state: advance(f, projection(state)))
    states = None if plan.states is None else [x, *plan.states[1:]]
    return Plan([first, *others], states, plan.end)


class ProjectedStep(NamedTuple):
    """A step, and P of the x in the state that it hands on: x alone, or x first among other tensors."""

    advance: Callable[[VectorField, Any], Any]
    projection: Projection

    def __call__(self, f: VectorField, state: Any) -> Any:
        """The state after the step."""
        state = self.advance(f, state)
        return (self.projection(state[0]), *state[1:]) if isinstance(state, tuple) else self.projection(state)


class ReversiblePlan(NamedTuple):
    """Steps of a reversible solver over intervals that are known beforehand."""

    spans: list[tuple[Piece, Any, Any]]
    """Piece, start and end of each step, in order."""
    solver: ReversibleSolver
    active_samples: Tensor | None = None
    """Indices of the samples that move at all; None if all of them do."""

    def integrate(self, field: Field, x: Tensor) -> Tensor:
        """x(T), on autograd's tape where one is recorded."""
        state: Any = None
        for piece, t0, t1 in self.spans:
            field.enter(piece)
            field.step += 1
            state = self.solver.start(field, t0, x) if state is None else state
            state = self.solver.step(field, t0, t1, state)
        return self.solver.finish(state)


class Stepping(ABC):
    """How an initial-value problem is cut into steps and solved, piece by piece."""

    controls_error = False
    """Whether steps are chosen by an estimate of their error, which is then computed in full precision."""

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

    def check_adjoint(self, backward: Mapping[str, Any]) -> None:  # noqa: B027
        """Raise a `ValueError` where this stepping cannot solve the continuous adjoint equation with these options."""

    def check_reversible(self, coupling: float | None) -> None:
        """Raise a `ValueError` where the steps cannot be undone; by default they cannot."""
        del coupling
        raise ValueError(
            f"Reversible was asked for with {self!r}, whose steps cannot be undone: use FixedSteps, "
            "Adaptive(…, per_sample=True), or Checkpointed()."
        )

    def reversible_plan(
        self, pieces: Sequence[Piece], field: Field, x: Tensor, coupling: float | None
    ) -> ReversiblePlan | None:
        """The steps of a solve by a reversible solver; None where there is no step. Called after `check_reversible`.

        Args:
            pieces: pieces of θ.
            field: evaluates the pieces, and counts.
            x: x(0).
            coupling: coupling of a method that is not reversible by itself; None to derive it from the number of steps.
        """
        raise NotImplementedError(f"{type(self).__name__} passes check_reversible but has no reversible_plan.")


class FixedStep(NamedTuple):
    """A step of `solver` over [t0, t1], then the projection; the first starts the solver and the last finishes it."""

    solver: Solver
    t0: float
    t1: float
    projection: Projection | None
    first: bool = False
    last: bool = False

    def __call__(self, f: VectorField, state: Any) -> Any:
        """The state after the step."""
        if self.first:
            state = self.solver.start(f, self.t0, state)
        state = self.solver.step(f, self.t0, self.t1, state)
        if self.projection is not None:
            state = self.projection(state)
        return self.solver.finish(state) if self.last else state


def steps_on(times: Sequence[tuple[Piece, Any, Any]], solver: Solver, projection: Projection | None) -> list[Step]:
    """Steps whose piece, start and end are known; the first one starts the solver, and the last one finishes it."""
    last = len(times) - 1
    return [
        Step(piece, FixedStep(solver, t0, t1, projection, k == 0, k == last)) for k, (piece, t0, t1) in enumerate(times)
    ]


def carries_x_alone(solver: Solver) -> bool:
    """Whether the solver's state is x itself, and to start and to finish is to do nothing."""
    return type(solver).start is Solver.start and type(solver).finish is Solver.finish


def spans(start: float, end: float, number: int) -> list[tuple[float, float]]:
    """Start and end of each of `number` equal steps; the ends of the interval are among them exactly."""
    if number == 1:
        return [(start, end)]
    length = end - start
    return list(pairwise([start + length * k / number for k in range(number)] + [end]))
