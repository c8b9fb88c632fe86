"""Stepping: where the steps of a solve lie, chosen beforehand (`FixedSteps`) or by error control (`Adaptive`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from torch import Tensor

from odenet.blocks import bridge
from odenet.blocks.field import Field
from odenet.blocks.solvers import Euler, RungeKutta, Solver, solver_named
from odenet.blocks.theta import Piece

Projection: TypeAlias = Callable[[Tensor], Tensor]
"""What is applied to x after every step: the ReLU after the addition in a post-activation ResNet."""


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

    def check_projection(self, projection: Projection | None) -> None:  # noqa: B027 (most have nothing to refuse)
        """Raise a `ValueError` where this stepping cannot project after each step."""

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
        solver, n = self.solver, self.per_piece
        state: Any = None
        for piece in pieces:
            field.enter(piece)
            if state is None:
                state = solver.start(field, piece.start, x)
            length = piece.end - piece.start
            t0 = piece.start
            for k in range(n):
                t1 = piece.end if k == n - 1 else piece.start + length * (k + 1) / n
                field.step += 1
                state = solver.step(field, t0, t1, state)
                if projection is not None:
                    state = projection(state)
                t0 = t1
        return solver.finish(state)

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
