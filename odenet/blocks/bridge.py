"""The one place where odenet meets torchdiffeq: solves over one piece of θ, forwards and by the continuous adjoint.

torchdiffeq is imported when it is first needed: it brings SciPy with it, and a network of fixed steps needs neither.
torchdiffeq asserts where a step underflows and runs on where the field is stiff. Here both end in the last state that
was accepted and a `BudgetWarning`.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from odenet.blocks.errors import BudgetWarning, unknown_name
from odenet.blocks.field import Field
from odenet.blocks.replay import Replay
from odenet.blocks.solvers import RungeKutta
from odenet.blocks.theta import Piece


@dataclass(frozen=True)
class Request:
    """What is asked of torchdiffeq: its method with tolerances and options, and a budget of evaluations."""

    method: str
    rtol: float = 0.0
    atol: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)
    max_evaluations: int | None = None


def check_method(method: str, options: Mapping[str, Any]) -> None:
    """Raise a `ValueError` that names the nearest right one where torchdiffeq has no such method or option."""
    if method not in _solvers():
        raise unknown_name("method of torchdiffeq", method, [name for name in _solvers() if ":" not in name])
    known = _options_of(method)
    for option in options:
        if option not in known:
            raise unknown_name(f"option of torchdiffeq's {method}", option, known)


def fixed_request(solver: RungeKutta, steps: int) -> Request:
    """`steps` equal steps of one of our Runge-Kutta methods, as torchdiffeq's machinery takes them.

    torchdiffeq finds solvers by name in a table; ours enter it under a name of their own, "odenet:…".
    """
    from torchdiffeq._impl.fixed_grid import FixedGridODESolver

    class OnTheGrid(FixedGridODESolver):
        order = solver.order

        def _step_func(self, func: Callable, t0: Tensor, dt: Tensor, t1: Tensor, y0: Tensor) -> Any:  # noqa: ARG002
            def f(t: float, x: Tensor) -> Tensor:
                return func(torch.as_tensor(t, dtype=torch.float64, device=x.device), x)

            return solver.increment(f, t0.item(), t1.item(), y0), None

    name = f"odenet:{solver!r}"
    _solvers().setdefault(name, OnTheGrid)

    def grid(f: Callable, x: Tensor, t: Tensor) -> Tensor:  # noqa: ARG001
        return torch.linspace(t[0].item(), t[-1].item(), steps + 1, dtype=t.dtype, device=t.device)

    return Request(name, options={"grid_constructor": grid})


def solve(field: Field, piece: Piece, x: Tensor, request: Request) -> tuple[Tensor, bool]:
    """x(end) of a piece from x(start), and whether the end was reached within the budget.

    Raises:
        NonFiniteState: a state or slope became NaN or infinite.
        ValueError: a gradient is wanted through a method that torchdiffeq cannot differentiate.
    """
    from torchdiffeq import odeint

    watch = _watch(field, piece, x, request)
    options = _ending_at(request, piece.end, x)
    try:
        solution: Any = odeint(watch, x, _times(piece, x), **_how(request), options=options)
    except (_BudgetSpent, AssertionError) as stop:
        return watch.state_reached(stop), False
    end: Tensor = solution[1]
    if _wants_gradient(piece, x) and not end.requires_grad:
        raise ValueError(
            f"a gradient was asked for through torchdiffeq's {request.method!r}, whose steps leave PyTorch; use "
            "gradient=ContinuousAdjoint(), another method, or torch.no_grad()."
        )
    return end, True


def solve_adjoint(
    field: Field, piece: Piece, x: Tensor, request: Request, backward: Mapping[str, Any]
) -> tuple[Tensor, bool]:
    """As `solve`, with the gradient from the continuous adjoint equation (Chen et al. 2018, algorithm 1).

    Args:
        field: the field, at the piece.
        piece: the interval.
        x: the state at its start.
        request: the solve forwards.
        backward: `rtol`, `atol`, `method` of the solve backwards where they differ.
    """
    from torchdiffeq import odeint_adjoint

    watch = _watch(field, piece, x, request)
    other = backward.get("adjoint_method", request.method)
    returning = request if other == request.method else Request(other)
    try:
        solution: Any = odeint_adjoint(
            watch,
            x,
            _times(piece, x),
            **_how(request),
            options=_ending_at(request, piece.end, x),
            adjoint_params=tuple({id(p): p for node in piece.nodes for p in node.parameters()}.values()),
            adjoint_options=_ending_at(returning, piece.start, x),
            **backward,
        )
    except (_BudgetSpent, AssertionError) as stop:
        reached = watch.state_reached(stop)
        if watch.time > piece.start:
            # The solve that was cut short left no graph: the same steps again, up to where they came.
            shorter = piece._replace(end=watch.time)
            reached, _ = solve_adjoint(field, shorter, x, replace(request, max_evaluations=None), backward)
        return reached, False
    watch.forward = False
    return solution[1], True


class _BudgetSpent(Exception):  # noqa: N818 (not an error: it unwinds)
    """Unwinds torchdiffeq's loop."""


class _Watch:
    """The field as torchdiffeq sees it over one piece: budgeted, and replayed exactly in a backward pass."""

    def __init__(self, field: Field, piece: Piece, x: Tensor, request: Request) -> None:
        self.field, self.piece, self.method = field, piece, request.method
        self.budget = request.max_evaluations
        self.replay = Replay(x.device.type)
        self.forward = True
        self.backward_evaluations = 0
        self._reached: tuple[Any, Tensor] = (piece.start, x)
        self._slope: Tensor = x

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        spent = self.field.evaluations if self.forward else self.backward_evaluations
        if self.budget is not None and spent >= self.budget:
            raise _BudgetSpent if self.forward else self._backward_stopped()
        if self.forward:
            self._slope = self.field(t, x).to(x.dtype)
            return self._slope
        self.backward_evaluations += 1
        with self.replay(self.piece.nodes):
            return self.piece.field(t, x).to(x.dtype)

    @property
    def time(self) -> float:
        """The t of the last state accepted."""
        return float(self._reached[0])

    def state_reached(self, stop: Exception) -> Tensor:
        """The last state accepted, with a warning that says where and why it stopped."""
        t, state = self.time, self._reached[1]
        self.field.require_finite("state", t, state)
        self.field.require_finite("slope F(t, x)", t, self._slope)
        if isinstance(stop, AssertionError) and "underflow" not in str(stop) and "max_num_steps" not in str(stop):
            raise stop
        why = f"the budget of {self.budget} evaluations is spent" if isinstance(stop, _BudgetSpent) else str(stop)
        warnings.warn(
            f"torchdiffeq's {self.method} stopped at t = {t:g} of {self.field.label} before t = {self.piece.end:g}: "
            f"{why}. The state there is returned; raise max_evaluations or the tolerances, or make the field smoother.",
            BudgetWarning,
            stacklevel=2,
        )
        return state

    def _backward_stopped(self) -> RuntimeError:
        return RuntimeError(
            f"the adjoint equation of {self.field.label} was given {self.budget} evaluations and needs more; half a "
            "gradient is none: raise max_evaluations or the tolerances, or use Backprop()."
        )


class _StepWatch(_Watch):
    """Also told of each step: torchdiffeq calls `callback_step` with the state accepted last."""

    def callback_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:  # noqa: ARG002
        self._reached = (t0, y0)


def _watch(field: Field, piece: Piece, x: Tensor, request: Request) -> _Watch:
    kind = _StepWatch if "callback_step" in _solvers()[request.method].valid_callbacks() else _Watch
    return kind(field, piece, x, request)


def _how(request: Request) -> dict[str, Any]:
    return {"method": request.method, "rtol": request.rtol, "atol": request.atol}


def _times(piece: Piece, x: Tensor) -> Tensor:
    return torch.tensor([piece.start, piece.end], dtype=torch.float64, device=x.device)


def _ending_at(request: Request, end: float, x: Tensor) -> dict[str, Any]:
    """The options, with a last step that ends at `end`: torchdiffeq would step over it, and evaluate F outside."""
    options = dict(request.options)
    if "step_t" in _options_of(request.method):
        options.setdefault("step_t", torch.tensor([end], dtype=torch.float64, device=x.device))
    return options


def _wants_gradient(piece: Piece, x: Tensor) -> bool:
    parameters = (p for node in piece.nodes for p in node.parameters())
    return torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in parameters))


def _solvers() -> dict[str, Any]:
    from torchdiffeq._impl.odeint import SOLVERS

    return SOLVERS


def _options_of(method: str) -> list[str]:
    """Names of the keyword arguments along the constructors of torchdiffeq's class, less those that odenet fills in."""
    given = {"self", "func", "y0", "rtol", "atol", "dtype", "kwargs", "unused_kwargs"}
    classes = inspect.getmro(_solvers()[method])
    names = {name for cls in classes if "__init__" in vars(cls) for name in inspect.signature(cls.__init__).parameters}
    return sorted(names - given)
