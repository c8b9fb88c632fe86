"""Stepping: the base class of the ways to divide a solve into steps, and plans of steps shared by its subclasses."""

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
"""Function applied to x after every step, such as the ReLU after the addition in a post-activation ResNet."""


class Step(NamedTuple):
    """A step of a solve: the piece of θ on which it lies, and `advance(f, state)`, which returns the state after it.

    The state before the first step is x(0), and the state after the last step is x(T); in between it is the state of
    the solver.
    """

    piece: Piece
    advance: Callable[[VectorField, Any], Any]


class Plan(NamedTuple):
    """The steps of a solve; if finding them required the solve itself, also the state before each step, and x(T)."""

    steps: list[Step]
    states: list[Any] | None = None
    end: Tensor | None = None


def projected_plan(plan: Plan, pieces: Sequence[Piece], x: Tensor, projection: Projection) -> Plan:
    """Return a plan that starts from x(0) and applies P before the first step and after every step.

    Args:
        plan: plan of the steps from P(x(0)).
        pieces: pieces of θ.
        x: initial state x(0), before P.
        projection: projection P.
    """
    if not plan.steps:
        return Plan([Step(pieces[0], lambda _, state: projection(state))], [x], projection(x))
    (piece, advance), *others = (Step(piece, ProjectedStep(step, projection)) for piece, step in plan.steps)
    first = Step(piece, lambda f, state: advance(f, projection(state)))
    states = None if plan.states is None else [x, *plan.states[1:]]
    return Plan([first, *others], states, plan.end)


class ProjectedStep(NamedTuple):
    """A step followed by P; the state is x, or a tuple whose first entry is x."""

    advance: Callable[[VectorField, Any], Any]
    projection: Projection

    def __call__(self, f: VectorField, state: Any) -> Any:
        """Return the projected state after the step."""
        state = self.advance(f, state)
        return (self.projection(state[0]), *state[1:]) if isinstance(state, tuple) else self.projection(state)


class ReversiblePlan(NamedTuple):
    """Steps of a reversible solver over known intervals."""

    spans: list[tuple[Piece, Any, Any]]
    """Piece of θ, start and end of each step, in order."""
    solver: ReversibleSolver
    active_samples: Tensor | None = None
    """Indices of the samples that take any step; None if all of them do."""

    def integrate(self, field: Field, x: Tensor) -> Tensor:
        """Compute x(T); the steps are recorded by autograd if gradients are enabled."""
        state: Any = None
        for piece, t0, t1 in self.spans:
            field.enter(piece)
            field.step += 1
            state = self.solver.start(field, t0, x) if state is None else state
            state = self.solver.step(field, t0, t1, state)
        return self.solver.finish(state)


class Stepping(ABC):
    """Base class of the ways to divide an initial-value problem into steps and to solve it, piece by piece."""

    controls_error = False
    """Whether steps are chosen by estimates of their error; such a solve is computed in full precision."""

    def drawn(self, *, training: bool) -> Stepping:  # noqa: ARG002 (one that draws nothing does not ask)
        """Return the stepping of one forward pass: this one, or one that is drawn at random."""
        return self

    @abstractmethod
    def integrate(self, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None) -> Tensor:
        """Compute x(T) from x(0), differentiable by backpropagation through the operations of the solver.

        Args:
            pieces: pieces of θ.
            field: vector field that evaluates the pieces and counts the evaluations.
            x: initial state x(0).
            projection: projection applied to x after every step, or None.
        """

    @abstractmethod
    def integrate_with_adjoint(
        self, pieces: Iterable[Piece], field: Field, x: Tensor, backward: Mapping[str, Any]
    ) -> Tensor:
        """Compute x(T) from x(0) by torchdiffeq, with the gradient of the continuous adjoint equation.

        Args:
            pieces: pieces of θ.
            field: vector field that evaluates the pieces and counts the evaluations.
            x: initial state x(0).
            backward: `adjoint_rtol`, `adjoint_atol` and `adjoint_method` of the backward solve, if they differ from
                those of the forward solve.
        """

    @abstractmethod
    def plan(self, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None) -> Plan:
        """Return the steps by which `integrate` computes x(T), so that each can be taken again by itself.

        Called with gradients disabled. The arguments are those of `integrate`.
        """

    def check_projection(self, projection: Projection | None) -> None:  # noqa: B027 (most have nothing to refuse)
        """Raise a `ValueError` if this stepping does not support the projection."""

    def with_local_error(self, channels: int, index: int) -> Stepping:
        """Return this stepping with the square of the local error of x integrated into a channel of the state.

        Args:
            channels: number of channels of x, the first ones of the state.
            index: index of the channel among those behind x.

        Raises:
            ValueError: if the steps are not those of an embedded pair; by default they are not.
        """
        del channels, index
        raise ValueError(
            f"LocalError was asked for with {self!r}; it is the error estimate of fixed steps of an embedded pair, and "
            "error control keeps that of its own steps at the tolerance: train with FixedSteps(Dopri5()), Tsit5() or "
            "Bosh3(), or use KineticEnergy() or JacobianNorm()."
        )

    def check_plan(self) -> None:  # noqa: B027
        """Raise a `ValueError` if the steps of a solve cannot be taken again one by one."""

    def check_adjoint(self, backward: Mapping[str, Any]) -> None:  # noqa: B027
        """Raise a `ValueError` if this stepping cannot solve the continuous adjoint equation with these options."""

    def check_reversible(self, coupling: float | None) -> None:
        """Raise a `ValueError` if the steps cannot be undone with this coupling; by default they cannot."""
        del coupling
        raise ValueError(
            f"Reversible was asked for with {self!r}, whose steps cannot be undone: use FixedSteps, "
            "Adaptive(…, per_sample=True), or Checkpointed()."
        )

    def coupled(self, coupling: float | None) -> Stepping:  # noqa: ARG002 (most cannot be coupled)
        """Return the stepping by which `reversible_plan` solves, if it has a name of its own."""
        return self

    def reversible_plan(
        self, pieces: Sequence[Piece], field: Field, x: Tensor, coupling: float | None
    ) -> ReversiblePlan | None:
        """Return the steps of a solve by a reversible solver, or None if there are none.

        Called after `check_reversible`.

        Args:
            pieces: pieces of θ.
            field: vector field that evaluates the pieces and counts the evaluations.
            x: initial state x(0).
            coupling: coupling of a method that is not reversible by itself; None to derive it from the number of steps.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define reversible_plan.")


class FixedStep(NamedTuple):
    """A step of `solver` over [t0, t1], then the projection; the first step also calls `start`, the last `finish`."""

    solver: Solver
    t0: float
    t1: float
    projection: Projection | None
    first: bool = False
    last: bool = False

    def __call__(self, f: VectorField, state: Any) -> Any:
        """Return the state after the step."""
        if self.first:
            state = self.solver.start(f, self.t0, state)
        state = self.solver.step(f, self.t0, self.t1, state)
        if self.projection is not None:
            state = self.projection(state)
        return self.solver.finish(state) if self.last else state


def steps_on(times: Sequence[tuple[Piece, Any, Any]], solver: Solver, projection: Projection | None) -> list[Step]:
    """Return steps of `solver` with known piece, start and end.

    Args:
        times: piece of θ, start and end of each step, in order.
        solver: solver that takes the steps.
        projection: projection applied after every step, or None.
    """
    last = len(times) - 1
    return [
        Step(piece, FixedStep(solver, t0, t1, projection, k == 0, k == last)) for k, (piece, t0, t1) in enumerate(times)
    ]


def state_is_x(solver: Solver) -> bool:
    """Whether the state of the solver is x itself, so that `start` and `finish` do nothing."""
    return type(solver).start is Solver.start and type(solver).finish is Solver.finish


def spans(start: float, end: float, number: int) -> list[tuple[float, float]]:
    """Return start and end of `number` equal steps; the first start and the last end are exact."""
    if number == 1:
        return [(start, end)]
    length = end - start
    return list(pairwise([start + length * k / number for k in range(number)] + [end]))
