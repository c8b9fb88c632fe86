"""The steps that torchdiffeq's error control accepted, to be taken again one by one and differentiated."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from odenet.blocks.solvers.named import SOLVERS
from odenet.blocks.solvers.runge_kutta import VectorField, combination, evaluate_stages
from odenet.blocks.solvers.tableau import Stage

StateAndSlope: TypeAlias = tuple[Tensor, Tensor]
"""x, and the slope there that the step before handed on ("first same as last")."""


class AcceptedStep:
    """One step of torchdiffeq's `method` from t0 to t1: x, or x and its slope, before it ↦ x and its slope after it.

    Args:
        method: its name.
        tableau: torchdiffeq's, where error control chose the step; None where `method` is one of ours too.
        t0: where it starts.
        t1: where it ends.
        last: on its piece of θ; it hands on x alone, for the slope is another on the next.
        beside: whether torchdiffeq looks at the field just beside some times, as it does where the field may jump: at
            the ends of a fixed step with `perturb=True`; after the end of a step to one of `jump_t`.
    """

    def __init__(self, method: str, tableau: Any, t0: float, t1: float, *, last: bool, beside: bool = False) -> None:
        self.method, self.t0, self.t1, self.last, self.beside = method, t0, t1, last, beside
        self.is_embedded = tableau is not None
        if tableau is not None:
            self.stages = [
                Stage(c, tuple(row.tolist())) for c, row in zip(tableau.alpha.tolist(), tableau.beta, strict=True)
            ]
            self.weights: list[float] = tableau.c_sol.tolist()

    def __call__(self, f: VectorField, state: Tensor | StateAndSlope) -> Any:
        """The state after the step."""
        x, slope = state if isinstance(state, tuple) else (state, None)
        if not self.is_embedded:
            solver = SOLVERS[self.method]()
            return solver.step(lambda t, y: f(self._time_of_fixed_step(t, y), y), self.t0, self.t1, x)
        x, slope = self._embedded(f, x, f(_time(self.t0, x), x) if slope is None else slope)
        if self.last:
            return x
        return x, f(_after(_time(self.t1, x)), x).to(x.dtype) if self.beside else slope

    def _embedded(self, f: VectorField, x: Tensor, slope: Tensor) -> StateAndSlope:
        h = self.t1 - self.t0
        start, end, length = (_time(t, x) for t in (self.t0, self.t1, h))
        slopes, _ = evaluate_stages(
            self.stages,
            lambda t, y: f(t, y).to(x.dtype),
            lambda c: _before(end) if c == 1 else start + c * length,
            lambda weights, slopes: x + combination(h, weights, slopes),
            [slope.to(x.dtype)],
        )
        return x + combination(h, self.weights, slopes), slopes[-1]

    def _time_of_fixed_step(self, t: float, x: Tensor) -> Any:
        time = _time(t, x)
        if not self.beside or t not in (self.t0, self.t1):
            return time
        return _after(time) if t == self.t0 else _before(time)


def _time(t: float, x: Tensor) -> Any:
    """A time as torchdiffeq hands it to a field, in the precision of the state."""
    return torch.tensor(t, dtype=x.real.dtype, device=x.device)


def _before(t: Tensor) -> Any:
    return torch.nextafter(t, t - 1)


def _after(t: Tensor) -> Any:
    return torch.nextafter(t, t + 1)


class RecordedStep(NamedTuple):
    """A step that was accepted: where it lies, the state before it, and `beside` of an `AcceptedStep`."""

    t0: float
    t1: float
    state: Tensor | StateAndSlope
    beside: bool


def accepted_steps(method: str, solver: Any, recorded: list[RecordedStep]) -> list[AcceptedStep]:
    """The steps on one piece, from those that a `recording` subclass of torchdiffeq's class `solver` recorded there."""
    tableau = getattr(solver, "tableau", None)
    ends = [False] * (len(recorded) - 1) + [True]
    pairs = zip(recorded, ends, strict=False)
    return [AcceptedStep(method, tableau, step.t0, step.t1, last=last, beside=step.beside) for step, last in pairs]


def require_one_step(method: str, solver: Any) -> None:
    """Raise a `ValueError` where a step of torchdiffeq's class `solver` needs more than the state before it."""
    if hasattr(solver, "tableau") or (hasattr(solver, "_step_func") and not hasattr(solver, "_update_history")):
        return
    raise ValueError(
        f"the steps of torchdiffeq's {method!r} were to be taken again one by one; each of them needs those before it "
        "too: use a Runge-Kutta method such as 'dopri5', FixedSteps, or gradient=Backprop()."
    )


@cache
def projecting(solver: Any, projection: Callable[[Tensor], Tensor]) -> Any:
    """Return a subclass of torchdiffeq's class that projects the state after each step it accepts."""

    class Projecting(solver):
        def _adaptive_step(self, rk_state: Any) -> Any:
            after = super()._adaptive_step(rk_state)
            return after._replace(y1=projection(after.y1)) if after.t1 > rk_state.t1 else after

        def _step_func(self, func: Any, t0: Tensor, dt: Tensor, t1: Tensor, y0: Tensor) -> Any:
            change, slope = super()._step_func(func, t0, dt, t1, y0)
            return projection(y0 + change) - y0, slope

    return Projecting


@cache
def recording(solver: Any) -> Any:
    """Return a subclass of torchdiffeq's class that appends the steps it accepts to its option, the list `recorded`."""

    class Recording(solver):
        def __init__(self, *args: Any, recorded: list[RecordedStep], **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.recorded = recorded

        def _adaptive_step(self, rk_state: Any) -> Any:
            after = super()._adaptive_step(rk_state)
            if after.t1 > rk_state.t1:
                state = (rk_state.y1, rk_state.f1) if self.recorded else rk_state.y1
                jumped = bool((self.jump_t == after.t1).any())
                self.recorded.append(RecordedStep(rk_state.t1.item(), after.t1.item(), state, jumped))
            return after

        def _step_func(self, func: Any, t0: Tensor, dt: Tensor, t1: Tensor, y0: Tensor) -> Any:
            self.recorded.append(RecordedStep(t0.item(), t1.item(), y0, self.perturb))
            return super()._step_func(func, t0, dt, t1, y0)

    return Recording
