"""Stepping: where the steps of a solve lie, chosen beforehand (`FixedSteps`) or by error control (`Adaptive`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

from odenet.blocks import bridge
from odenet.blocks.accepted_steps import require_one_step
from odenet.blocks.field import Field
from odenet.blocks.solvers import Euler, RungeKutta, Solver, VectorField, solver_named
from odenet.blocks.theta import Piece

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

    def __init__(self, solver: Solver | str | None = None, per_piece: int = 1) -> None:
        solver = Euler() if solver is None else solver_named(solver) if isinstance(solver, str) else solver
        if not isinstance(solver, Solver):
            raise TypeError(
                f"FixedSteps was given {solver!r} as its solver; it steps with a Solver object: pass e.g. Euler() or "
                "'midpoint'."
            )
        if isinstance(per_piece, bool) or not isinstance(per_piece, int) or per_piece < 1:
            raise ValueError(
                f"per_piece = {per_piece!r}; a piece is cut into whole steps: pass an integer of 1 or more."
            )
        self.solver = solver
        self.per_piece = per_piece

    def integrate(self, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None) -> Tensor:
        """x(T) by `per_piece` steps on each piece."""
        state: Any = x
        for step in self.steps(pieces, projection):
            state = step.advance(field.at(step.piece), state)
        return state

    def steps(self, pieces: Iterable[Piece], projection: Projection | None) -> list[Step]:
        """The steps in order; the first one starts the solver, and the last one finishes it."""
        spans = [(piece, *span) for piece in pieces for span in self.spans(piece)]
        solver = self.solver.fitted(len(spans))
        taken = [_FixedStep(solver, t0, t1, projection) for _, t0, t1 in spans]
        taken[0].first = taken[-1].last = True
        return [Step(piece, advance) for (piece, _, _), advance in zip(spans, taken, strict=True)]

    def spans(self, piece: Piece) -> list[tuple[float, float]]:
        """Start and end of each step on a piece; the ends of the piece are among them exactly."""
        n, length = self.per_piece, piece.end - piece.start
        times = [piece.start + length * k / n for k in range(n)] + [piece.end]
        return list(pairwise(times))

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
        if projection is not None and not _carries_x_alone(self.solver):
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


class _FixedStep:
    """A step of `solver` over [t0, t1], then the projection; the first starts the solver and the last finishes it."""

    def __init__(self, solver: Solver, t0: float, t1: float, projection: Projection | None) -> None:
        self.solver, self.t0, self.t1, self.projection = solver, t0, t1, projection
        self.first = self.last = False

    def __call__(self, f: VectorField, state: Any) -> Any:
        if self.first:
            state = self.solver.start(f, self.t0, state)
        state = self.solver.step(f, self.t0, self.t1, state)
        if self.projection is not None:
            state = self.projection(state)
        return self.solver.finish(state) if self.last else state


class Adaptive(Stepping):
    """Steps chosen by error control: torchdiffeq's `method`, with ‖error of a step‖ ≤ atol + rtol·‖x‖ (RMS norm).

    Every piece of θ is a solve of its own, so the error control never meets a jump of θ. The norm is taken over the
    whole batch: a sample's result depends on its batch-mates within the tolerance.

    Where `max_evaluations` is spent, or the step underflows, the state reached is returned with a `BudgetWarning` that
    says at which t; no assertion reaches the caller. The fixed-grid methods of torchdiffeq are accepted too: they take
    one step a piece, or steps of the option `step_size`, and ignore the tolerances.

    >>> Adaptive("dopri5", rtol=1e-3, atol=1e-4)
    Adaptive('dopri5', rtol=0.001, atol=0.0001)

    Args:
        method: one of torchdiffeq's methods: "dopri5", "bosh3", "adaptive_heun", "dopri8", …
        rtol: relative tolerance, not negative.
        atol: absolute tolerance, not negative; not both tolerances are zero.
        max_evaluations: of F in one forward pass of the block, and again on each piece on the way back of a continuous
            adjoint, which raises where they do not suffice; None for no limit.
        **options: torchdiffeq's options of that method (`first_step`, `safety`, `step_size`, …).

    Raises:
        ValueError: an unknown method or option, or a tolerance or budget out of range.
    """

    def __init__(
        self,
        method: str = "dopri5",
        rtol: float = 1e-3,
        atol: float = 1e-3,
        max_evaluations: int | None = None,
        **options: Any,
    ) -> None:
        bridge.check_method(method, options)
        if not (rtol >= 0 and atol >= 0 and rtol + atol > 0):
            raise ValueError(
                f"rtol = {rtol!r}, atol = {atol!r}; error control needs a positive tolerance: make both non-negative "
                "and at least one positive."
            )
        budget = 1 if max_evaluations is None else max_evaluations
        if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
            raise ValueError(
                f"max_evaluations = {max_evaluations!r}; a budget is a positive whole number of evaluations, or None."
            )
        self.method, self.rtol, self.atol = method, rtol, atol
        self.max_evaluations = max_evaluations
        self.options = options

    def integrate(self, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None) -> Tensor:  # noqa: ARG002
        """x(T), each piece solved to the tolerance."""
        for piece in pieces:
            field.enter(piece)
            x, complete = bridge.solve(field, piece, x, self._request)
            if not complete:
                break
        return x

    def integrate_with_adjoint(
        self, pieces: Iterable[Piece], field: Field, x: Tensor, backward: Mapping[str, Any]
    ) -> Tensor:
        """x(T), and backwards the adjoint equation solved to the same tolerance unless `backward` says otherwise."""
        for piece in pieces:
            field.enter(piece)
            x, complete = bridge.solve_adjoint(field, piece, x, self._request, backward)
            if not complete:
                break
        return x

    def plan(self, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None) -> Plan:
        """The steps of torchdiffeq's method on the grid that the error control chooses as it goes along."""
        del projection  # refused by `check_projection`
        steps: list[Step] = []
        states: list[Any] = []
        for piece in pieces:
            field.enter(piece)
            x, complete, accepted, before = bridge.solve_noting_steps(field, piece, x, self._request)
            steps += [Step(piece, step) for step in accepted]
            states += before
            if not complete:
                break
        return Plan(steps, states, x)

    @property
    def _request(self) -> bridge.Request:
        return bridge.Request(self.method, self.rtol, self.atol, self.options, self.max_evaluations)

    def check_projection(self, projection: Projection | None) -> None:
        """Refuse: under a projection after each step the result depends on h, and there is no limit to control."""
        if projection is not None:
            raise ValueError(
                f"projection = {projection!r} was asked for with {self!r}; a projected flow has no step-free limit "
                "that error control could approach: use FixedSteps, or pre-activation branches without a projection."
            )

    def check_plan(self) -> None:
        """Refuse methods whose step needs more than the state before it."""
        require_one_step(self.method, bridge.solvers()[self.method])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Adaptive) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        budget = {} if self.max_evaluations is None else {"max_evaluations": self.max_evaluations}
        extras = "".join(f", {name}={value!r}" for name, value in (budget | self.options).items())
        return f"Adaptive({self.method!r}, rtol={self.rtol:g}, atol={self.atol:g}{extras})"


def _carries_x_alone(solver: Solver) -> bool:
    return type(solver).start is Solver.start and type(solver).finish is Solver.finish
