"""Fixed stepping: equal steps of one solver on every piece of θ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from torch import Tensor

from odenet.blocks.annotations import Inside
from odenet.blocks.arguments import checked
from odenet.blocks.field import Field
from odenet.blocks.solvers.local_error import WithLocalError
from odenet.blocks.solvers.named import solver_named
from odenet.blocks.solvers.reversible import Coupled, ReversibleSolver
from odenet.blocks.solvers.runge_kutta import Euler, RungeKutta, Solver
from odenet.blocks.stepping import torchdiffeq_bridge as bridge
from odenet.blocks.stepping.base import (
    Plan,
    Projection,
    ReversiblePlan,
    Step,
    Stepping,
    spans,
    state_is_x,
    steps_on,
)
from odenet.blocks.stepping.fixed_compiled import TooManyPrograms, integrate_compiled
from odenet.blocks.theta.base import Piece

_ONE_BY_ONE = ("the gradient method takes the steps one by one", "use Backprop()")
"""Arguments of `Field.fall_back_to_eager`: why a solve is not compiled, and what to do."""


class FixedSteps(Stepping):
    """`per_piece` equal steps of `solver` on every piece of θ: h = T/(pieces·per_piece).

    Steps are counted in integers and times are Python floats, so the host never waits for the device, and a whole solve
    compiles as one graph.

    >>> from odenet import Midpoint
    >>> FixedSteps(Midpoint(), per_piece=4)
    FixedSteps(Midpoint(), per_piece=4)

    Args:
        solver: a `Solver`, or its name in `SOLVERS`; `Euler()` by default.
        per_piece: number of steps on each piece, ≥ 1.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if the name of the solver is unknown, or per_piece < 1.
    """

    @checked
    def __init__(self, solver: Annotated[Solver | str | None, Inside()] = None, per_piece: int = 1) -> None:
        solver = Euler() if solver is None else solver_named(solver) if isinstance(solver, str) else solver
        if not isinstance(solver, Solver):
            raise TypeError(
                f"FixedSteps was given {solver!r} as its solver, but it needs a Solver object: pass e.g. Euler() or "
                "'midpoint'."
            )
        self.solver = solver
        self.per_piece = per_piece
        self._reversible_cache: tuple[Solver, float | None, int, ReversibleSolver] | None = None

    def integrate(self, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None) -> Tensor:
        """Compute x(T) by `per_piece` steps on each piece."""
        pieces = list(pieces)
        if field.programs is not None and field.positions is not None:
            field.fall_back_to_eager(
                "its normalizations have statistics of each evaluation", "compile the network by torch.compile(net)"
            )
        if field.programs is not None:
            try:
                return integrate_compiled(self.solver, self.per_piece, pieces, field, x, projection)
            except TooManyPrograms:
                field.fall_back_to_eager(
                    f"θ has a different field on each of {len(pieces)} pieces, and every one would be compiled",
                    "use Constant, PiecewiseConstant or Galerkin, or fewer pieces",
                )
            except (TypeError, ValueError):
                field.evaluations = 0  # an error of the branch: the eager steps below raise it again, with its place
        # The same as running `steps`, but without two objects per step, which would be noticeable with small branches.
        solver = self.solver.fitted(len(pieces) * self.per_piece)
        state: Any = None
        for piece in pieces:
            field.enter(piece)
            for t0, t1 in self.spans(piece):
                field.step += 1
                state = solver.start(field, t0, x) if state is None else state
                state = solver.step(field, t0, t1, state)
                state = state if projection is None else projection(state)
        return x if state is None else solver.finish(state)  # stochastic depth may have skipped every piece

    def steps(self, pieces: Iterable[Piece], projection: Projection | None) -> list[Step]:
        """Return the steps in order; the first one starts the solver, and the last one finishes it."""
        times = [(piece, t0, t1) for piece in pieces for t0, t1 in self.spans(piece)]
        return steps_on(times, self.solver.fitted(len(times)), projection)

    def spans(self, piece: Piece) -> list[tuple[float, float]]:
        """Return start and end of each step on a piece; the first start and the last end are exact."""
        return spans(piece.start, piece.end, self.per_piece)

    def plan(self, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None) -> Plan:  # noqa: ARG002
        """Return the steps, which are known without a solve."""
        field.fall_back_to_eager(*_ONE_BY_ONE)
        return Plan(self.steps(pieces, projection))

    def reversible_plan(
        self, pieces: Sequence[Piece], field: Field, x: Tensor, coupling: float | None
    ) -> ReversiblePlan | None:
        """Return the same steps, by the solver if it is reversible, or else by the coupled Runge-Kutta method."""
        del x
        field.fall_back_to_eager(*_ONE_BY_ONE)
        spans = [(piece, *span) for piece in pieces for span in self.spans(piece)]
        return ReversiblePlan(spans, self._reversible(coupling, len(spans))) if spans else None

    def coupled(self, coupling: float | None) -> FixedSteps:
        """Return the same steps by the coupled method of a Runge-Kutta solver."""
        solver = self.solver
        return FixedSteps(Coupled(solver, coupling), self.per_piece) if isinstance(solver, RungeKutta) else self

    def _reversible(self, coupling: float | None, steps: int) -> ReversibleSolver:
        """Return the reversible solver for a number of steps, cached until solver, coupling or number change."""
        if (
            self._reversible_cache is None
            or self._reversible_cache[0] is not self.solver
            or self._reversible_cache[1:3] != (coupling, steps)
        ):
            solver: Any = Coupled(self.solver, coupling) if isinstance(self.solver, RungeKutta) else self.solver
            self._reversible_cache = (self.solver, coupling, steps, solver.fitted(steps))
        return self._reversible_cache[3]

    def integrate_with_adjoint(
        self, pieces: Iterable[Piece], field: Field, x: Tensor, backward: Mapping[str, Any]
    ) -> Tensor:
        """Compute x(T) by the same steps; the adjoint equation is solved with the same solver and steps."""
        del backward  # refused by `check_adjoint`
        field.fall_back_to_eager(*_ONE_BY_ONE)
        request = bridge.fixed_request(self._runge_kutta(), self.per_piece)
        for piece in pieces:
            field.enter(piece)
            x, _ = bridge.solve_adjoint(field, piece, x, request, {})
        return x

    def check_projection(self, projection: Projection | None) -> None:
        """Refuse a projection if the state of the solver is more than x."""
        if projection is not None and not state_is_x(self.solver):
            raise ValueError(
                f"projection = {projection!r} was asked for with {self.solver!r}, whose state is more than x; "
                "projecting a part of it would break the method: use a Runge-Kutta solver, or no projection."
            )

    def with_local_error(self, channels: int, index: int) -> FixedSteps:
        """Return the same steps with the square of their local error in a channel, if the solver is a pair."""
        if not isinstance(self.solver, RungeKutta) or not self.solver.tableau.error:
            super().with_local_error(channels, index)
        return FixedSteps(WithLocalError(self._runge_kutta(), channels, index), self.per_piece)

    def check_adjoint(self, backward: Mapping[str, Any]) -> None:
        """Refuse solvers that are not Runge-Kutta methods, and options of the backward solve."""
        self._runge_kutta()
        if backward:
            options = ", ".join(f"{name.removeprefix('adjoint_')}={value!r}" for name, value in backward.items())
            raise ValueError(
                f"ContinuousAdjoint({options}) was asked for with {self!r}, but the backward solve takes the same "
                "fixed steps, without tolerances: use ContinuousAdjoint(), or Adaptive stepping."
            )

    def check_reversible(self, coupling: float | None) -> None:
        """Refuse a solver that is neither reversible nor a Runge-Kutta method, and a coupling of a reversible one."""
        if isinstance(self.solver, RungeKutta):
            return
        if not isinstance(self.solver, ReversibleSolver):
            raise ValueError(
                f"Reversible was asked for with {self.solver!r}, whose steps cannot be undone: use a Runge-Kutta "
                "method such as Euler() or RK4(), a reversible one such as AsynchronousLeapfrog(), or Checkpointed()."
            )
        if coupling is not None:
            raise ValueError(
                f"Reversible(coupling={coupling}) was asked for with {self.solver!r}, which is reversible by itself: "
                "pass the coupling to the solver, as in Coupled(RK4(), coupling=0.99), and use Reversible()."
            )

    def _runge_kutta(self) -> RungeKutta:
        if not isinstance(self.solver, RungeKutta):
            raise ValueError(
                f"ContinuousAdjoint was asked for with {self.solver!r}, but the augmented equation is solved by "
                "Runge-Kutta methods only: use one, or Backprop()."
            )
        return self.solver

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FixedSteps) and (self.solver, self.per_piece) == (other.solver, other.per_piece)

    def __hash__(self) -> int:
        return hash((self.solver, self.per_piece))

    def __repr__(self) -> str:
        return f"FixedSteps({self.solver!r}, per_piece={self.per_piece})"
