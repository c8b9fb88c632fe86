"""Accepted steps of torchdiffeq's error control, which gradient methods take again one by one and differentiate."""

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
"""x and the slope at x, which is the last slope of the previous step ("first same as last")."""


class AcceptedStep:
    """One step of torchdiffeq's `method` from t0 to t1; it maps x, or x and its slope, to x and its slope at t1.

    Args:
        method: name of the method.
        tableau: torchdiffeq's Butcher tableau of a method with error control; None for a method of fixed steps, which
            odenet has under the same name.
        t0: start of the step.
        t1: end of the step.
        last: whether this is the last step on its piece of θ; then it returns x alone, as the slope jumps with θ.
        perturb: whether torchdiffeq evaluates the field at the float next to a time, where the field may jump: at both
            ends of a fixed step with `perturb=True`, and after a step that ends at one of `jump_t`.
    """

    def __init__(self, method: str, tableau: Any, t0: float, t1: float, *, last: bool, perturb: bool = False) -> None:
        self.method, self.t0, self.t1, self.last, self.perturb = method, t0, t1, last, perturb
        self.is_embedded = tableau is not None
        if tableau is not None:
            self.stages = [
                Stage(c, tuple(row.tolist())) for c, row in zip(tableau.alpha.tolist(), tableau.beta, strict=True)
            ]
            self.weights: list[float] = tableau.c_sol.tolist()

    def __call__(self, f: VectorField, state: Tensor | StateAndSlope) -> Any:
        """Return the state after the step."""
        x, slope = state if isinstance(state, tuple) else (state, None)
        if not self.is_embedded:
            solver = SOLVERS[self.method]()
            return solver.step(lambda t, y: f(self._time_of_fixed_step(t, y), y), self.t0, self.t1, x)
        x, slope = self._embedded(f, x, f(_time(self.t0, x), x) if slope is None else slope)
        if self.last:
            return x
        return x, f(_after(_time(self.t1, x)), x).to(x.dtype) if self.perturb else slope

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
        if not self.perturb or t not in (self.t0, self.t1):
            return time
        return _after(time) if t == self.t0 else _before(time)


def _time(t: float, x: Tensor) -> Any:
    """Return t as the tensor that torchdiffeq passes to a field, in the dtype of the real part of x."""
    return torch.tensor(t, dtype=x.real.dtype, device=x.device)


def _before(t: Tensor) -> Any:
    return torch.nextafter(t, t - 1)


def _after(t: Tensor) -> Any:
    return torch.nextafter(t, t + 1)


class RecordedStep(NamedTuple):
    """An accepted step: its start and end, the state before it, and the flag `perturb` of an `AcceptedStep`."""

    t0: float
    t1: float
    state: Tensor | StateAndSlope
    perturb: bool


def accepted_steps(method: str, solver: Any, recorded: list[RecordedStep]) -> list[AcceptedStep]:
    """Return the steps on one piece as `AcceptedStep`s.

    Args:
        method: name of the method.
        solver: torchdiffeq's class of the method.
        recorded: steps that `recording(solver)` recorded on the piece.
    """
    tableau = getattr(solver, "tableau", None)
    is_last = [False] * (len(recorded) - 1) + [True]
    pairs = zip(recorded, is_last, strict=False)
    return [AcceptedStep(method, tableau, step.t0, step.t1, last=last, perturb=step.perturb) for step, last in pairs]


def require_one_step(method: str, solver: Any) -> None:
    """Raise a `ValueError` if a step of the method depends on more than the state before it, or is taken by SciPy.

    Args:
        method: name of the method.
        solver: torchdiffeq's class of the method.
    """
    if hasattr(solver, "tableau") or (hasattr(solver, "_step_func") and not hasattr(solver, "_update_history")):
        return
    raise ValueError(
        f"the gradient method takes the steps of torchdiffeq's {method!r} again one by one, but each of them depends "
        "on the steps before it: use a Runge-Kutta method such as 'dopri5', FixedSteps, or gradient=Backprop()."
    )


@cache
def projecting(solver: Any, projection: Callable[[Tensor], Tensor]) -> Any:
    """Return a subclass of torchdiffeq's class `solver` that projects the state after each accepted step."""

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
    """Return a subclass of torchdiffeq's class `solver` that appends each accepted step to its option `recorded`."""

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
