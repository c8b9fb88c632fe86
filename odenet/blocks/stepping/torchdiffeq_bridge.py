"""The one place where odenet meets torchdiffeq: solves over one piece of θ, forwards and by the continuous adjoint.

torchdiffeq is imported when it is first needed: it brings SciPy with it, and a network of fixed steps needs neither.
torchdiffeq asserts where a step underflows and runs on where the field is stiff. Here both end in the last state that
was accepted and a `BudgetWarning`.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from odenet.blocks.errors import BudgetWarning, advice, is_below_rounding, unknown_name
from odenet.blocks.field import Field
from odenet.blocks.replay.graph_ends import KnownEnds
from odenet.blocks.replay.replay import Replay
from odenet.blocks.replay.substitution import Gate, replaced
from odenet.blocks.solvers.runge_kutta import RungeKutta
from odenet.blocks.stepping.accepted_steps import AcceptedStep, Noted, accepted_steps, noting
from odenet.blocks.stepping.stopping import Stopped, both, evaluations_by_default, reason_of
from odenet.blocks.stepping.torchdiffeq_options import Request, options_on
from odenet.blocks.theta.base import Piece, wants_gradient


def check_method(method: str, options: Mapping[str, Any]) -> None:
    """Raise a `ValueError` that names the nearest right one where torchdiffeq has no such method or option."""
    methods = [name for name in solvers() if ":" not in name]
    if method not in methods:
        raise unknown_name("method of torchdiffeq", method, methods)
    known = _options_of(method)
    for option in options:
        if option not in known:
            raise unknown_name(f"option of torchdiffeq's {method}", option, known)


def fixed_request(solver: RungeKutta, steps: int) -> Request:
    """`steps` equal steps of one of our Runge-Kutta methods, as torchdiffeq's machinery takes them.

    torchdiffeq finds solvers by name in a table; ours enter it under names of their own, "odenet:…".
    """
    from torchdiffeq._impl.fixed_grid import FixedGridODESolver

    class OnTheGrid(FixedGridODESolver):
        order = solver.order

        def _step_func(self, func: Callable, t0: Tensor, dt: Tensor, t1: Tensor, y0: Tensor) -> Any:  # noqa: ARG002
            def f(t: float, x: Tensor) -> Tensor:
                return func(torch.as_tensor(t, dtype=torch.float64, device=x.device), x)

            return solver.increment(f, t0.item(), t1.item(), y0), None

    # Not by the class's name alone: a notebook may define another class of that name.
    name = f"odenet:{solver!r}:{id(type(solver))}"
    solvers().setdefault(name, OnTheGrid)

    def grid(f: Callable, x: Tensor, t: Tensor) -> Tensor:  # noqa: ARG001
        return torch.linspace(t[0].item(), t[-1].item(), steps + 1, dtype=t.dtype, device=t.device)

    return Request(name, options={"grid_constructor": grid})


def solve(field: Field, piece: Piece, x: Tensor, request: Request) -> tuple[Tensor, bool]:
    """x(end) of a piece from x(start), and whether the end was reached within the budget.

    Raises:
        NonFiniteState: a state or slope became NaN or infinite.
        ValueError: a gradient is wanted through a method that torchdiffeq cannot differentiate.
    """
    watch = _watch(field, piece, x, request)
    captured = field.find_captures() if not isinstance(watch, _StepWatch) and torch.is_grad_enabled() else []
    end, reached = _integrate(watch, piece, x, request)
    complete = reached == piece.end
    if complete and (captured or wants_gradient([piece], x)) and not end.requires_grad:
        raise ValueError(
            f"a gradient was asked for through torchdiffeq's {request.method!r}, whose steps leave PyTorch; use "
            "gradient=ContinuousAdjoint(), another method, or torch.no_grad()."
        )
    return end, complete


def solve_noting_steps(
    field: Field, piece: Piece, x: Tensor, request: Request
) -> tuple[Tensor, bool, list[AcceptedStep], list[Any]]:
    """As `solve`, with the steps that were accepted and the states before them."""
    method, noted = request.method, list[Noted]()
    name, solver = f"odenet:noting:{method}", solvers()[method]
    solvers().setdefault(name, noting(solver))
    end, complete = solve(field, piece, x, replace(request, method=name, options={**request.options, "noted": noted}))
    return end, complete, accepted_steps(method, solver, noted), [step.state for step in noted]


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
    watch = _watch(field, piece, x, request)
    if torch.is_grad_enabled():
        watch.captured = field.find_captures()
    watch.replay.buffers.note()
    with torch.no_grad(), watch.replay.first():
        end, reached = _integrate(watch, piece, x, request)
    if reached > piece.start:
        x = _attached(watch, piece._replace(end=reached), x, end, request, backward)
    return x, reached == piece.end


def _integrate(watch: _Watch, piece: Piece, x: Tensor, request: Request) -> tuple[Tensor, float]:
    """The state reached and its t: the piece's end, or where the budget, the step or the solver gave out."""
    from torchdiffeq import odeint

    options = options_on(piece, piece.end, request, _options_of(request.method), x.device)
    try:
        solution: Any = odeint(watch, x, _times(piece, x), **_how(request), options=options)
        return both(solution)[1], piece.end
    except (Stopped, AssertionError) as stop:
        return watch.state_reached(stop), watch.time


def _attached(
    watch: _Watch, piece: Piece, x: Tensor, end: Tensor, request: Request, backward: Mapping[str, Any]
) -> Tensor:
    """`end` = x(end of the piece) with the adjoint equation as its gradient; it is known, so nothing is evaluated."""
    from torchdiffeq import odeint_adjoint

    watch.forward, watch.piece = False, piece
    other = backward.get("adjoint_method", request.method)
    returning = request if other == request.method else Request(other)
    options = options_on(piece, piece.start, returning, _options_of(returning.method), x.device)
    options.pop("norm", None)  # one of states, not of the augmented ones
    solvers().setdefault("odenet:known", _Known)
    solution: Any = odeint_adjoint(
        watch,
        x,
        _times(piece, x),
        **_how(replace(request, method="odenet:known")),
        options={"known": end},
        adjoint_params=watch.adjoint_parameters(),
        adjoint_options=options | {"watch": watch},
        **{**backward, "adjoint_method": _backwards(other)},
    )
    return solution[1]


class _Known:
    """A solver in torchdiffeq's table that was told the state at the end."""

    def __init__(self, y0: Tensor, known: Tensor, **_: Any) -> None:
        self.solution = torch.stack([y0, known])

    @classmethod
    def valid_callbacks(cls) -> set[str]:
        return {"callback_step"}

    def integrate(self, t: Tensor) -> Tensor:  # noqa: ARG002
        return self.solution


def _backwards(method: str) -> str:
    """The name in torchdiffeq's table of `method` for the way back, where what stops it is an error that says so."""
    name = f"odenet:backwards:{method}"
    if name not in solvers():

        class Backwards(solvers()[method]):
            def __init__(self, *args: Any, watch: _Watch, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                self.watch = watch

            def integrate(self, t: Tensor) -> Tensor:
                self.watch.backward_evaluations = 0
                try:
                    with self.watch.replay.again(), self.watch.gate:
                        return both(super().integrate(t))
                except (Stopped, AssertionError) as stop:
                    raise self.watch.stopped_backwards(stop) from stop

        solvers()[name] = Backwards
    return name


class _Watch:
    """The field as torchdiffeq sees it over one piece: budgeted, and replayed exactly in a backward pass."""

    def __init__(self, field: Field, piece: Piece, x: Tensor, request: Request) -> None:
        self.field, self.piece = field, piece
        self.method = request.method.rpartition(":")[2]
        self.budget = request.max_evaluations
        self.most = (
            evaluations_by_default(_options_of(request.method), solvers()[request.method])
            if self.budget is None
            else math.inf
        )
        self.begun, self.rtol = field.evaluations, request.rtol
        self.replay = Replay(piece.nodes, x.device.type)
        self.captured: list[Tensor] = []
        self.ends: dict[Tensor, Tensor] = {}
        self.gate = Gate()
        self.known = KnownEnds([], field.label)
        self.forward = True
        self.backward_evaluations = 0
        self._reached: tuple[Any, Tensor] = (piece.start, x)
        self._slope: Tensor = x

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        spent = self.field.evaluations if self.forward else self.backward_evaluations
        if self.budget is not None and spent >= self.budget:
            raise Stopped(f"the budget of {self.budget} evaluations is spent")
        if spent - self.begun * self.forward >= self.most:
            raise Stopped(f"{self.most:.0f} evaluations are spent, the budget of a piece where none is given")
        # A trial of the first step's size, or a t that was rounded, may lie outside, where θ is another.
        given, t = t, t.clamp(self.piece.start, self.piece.end)
        if self.forward:
            self._slope = self.field(t, x).to(x.dtype)
            return self._slope
        self.backward_evaluations += 1
        with self.replay.evaluating(), replaced(self.ends):
            slope = self.piece.field(t, x).to(x.dtype)
        if slope.requires_grad:
            self.known.require([get_gradient_edge(slope)], [given, x])
        return slope

    def adjoint_parameters(self) -> tuple[Tensor, ...]:
        """What the adjoint equation integrates gradients of: trainable parameters, and captured tensors."""
        tensors = dict.fromkeys([*self.replay.trainable, *self.captured])
        self.ends = {tensor: self.gate.stopping(tensor) for tensor in tensors}
        unfrozen_since = (p for p in self.replay.parameters() if p not in tensors)
        self.known = KnownEnds([*self.ends.values(), *unfrozen_since], self.field.label)
        return tuple(self.ends.values())

    @property
    def time(self) -> float:
        """The t of the last state accepted."""
        return float(self._reached[0])

    def state_reached(self, stop: Exception) -> Tensor:
        """The last state accepted, with a warning that says where and why it stopped."""
        t, state = self.time, self._reached[1]
        self.field.require_finite("state", t, state)
        if not is_below_rounding(self.rtol, state.dtype):  # else a trial of torchdiffeq's is infinite, whatever F is
            self.field.require_finite("slope F(t, x)", t, self._slope)
        warnings.warn(
            f"torchdiffeq's {self.method} stopped at t = {t:g} of {self.field.label} before t = {self.piece.end:g}: "
            f"{reason_of(stop)}. The state there is returned, and its gradient is that at this t, as if it did not "
            f"depend on x: {advice(self.rtol, state.dtype)}.",
            BudgetWarning,
            stacklevel=2,
        )
        return state

    def stopped_backwards(self, stop: Exception) -> RuntimeError:
        """What to raise where the adjoint equation is not solved to the start of the piece."""
        return RuntimeError(
            f"the adjoint equation of {self.field.label} was not solved back from t = {self.piece.end:g} to "
            f"t = {self.piece.start:g}: {reason_of(stop)}; half a gradient is none: raise max_evaluations or the "
            "tolerances, or use Backprop()."
        )


class _StepWatch(_Watch):
    """Also told of each step: torchdiffeq calls `callback_step` with the state accepted last."""

    def callback_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:  # noqa: ARG002
        self._reached = (t0.detach(), y0)


def _watch(field: Field, piece: Piece, x: Tensor, request: Request) -> _Watch:
    if "callback_step" in solvers()[request.method].valid_callbacks():
        return _StepWatch(field, piece, x, request)
    # SciPy's solvers: they go on for ever from an infinity.
    field.watchful = True
    field.require_finite("state", piece.start, x)
    return _Watch(field, piece, x, request)


def _how(request: Request) -> dict[str, Any]:
    return {"method": request.method, "rtol": request.rtol, "atol": request.atol}


def _times(piece: Piece, x: Tensor) -> Tensor:
    return torch.tensor([piece.start, piece.end], dtype=torch.float64, device=x.device)


def solvers() -> dict[str, Any]:
    """The classes of torchdiffeq's methods by name; ours join them under names with a colon."""
    from torchdiffeq._impl.odeint import SOLVERS

    return SOLVERS


def _options_of(method: str) -> list[str]:
    """Names of the keyword arguments along the constructors of torchdiffeq's class, less those that odenet fills in."""
    given = {"self", "func", "y0", "rtol", "atol", "dtype", "kwargs", "unused_kwargs"}
    classes = inspect.getmro(solvers()[method])
    names = {name for cls in classes if "__init__" in vars(cls) for name in inspect.signature(cls.__init__).parameters}
    return sorted(names - given)
