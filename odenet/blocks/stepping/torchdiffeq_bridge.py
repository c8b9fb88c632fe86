"""The interface to torchdiffeq: solves over one piece of θ, forward and by the continuous adjoint equation.

No other module imports torchdiffeq, and this one imports it when it is first needed, because it imports SciPy, and
fixed steps need neither. torchdiffeq fails with an assertion if a step underflows, and it does not stop if the field is
stiff. Here both end with the last accepted state and a `BudgetWarning`.

On a GPU, torchdiffeq makes the host wait several times per step, because it decides in Python whether to accept a step
and how long the next one is. A training step of the ODE-Net of Chen et al. (2018) at tolerance 1e-3 has 114 such waits
with `Backprop` and 273 with `ContinuousAdjoint`. If they matter, `Adaptive(…, per_sample=True)` waits once in eight
attempted steps, and `FixedSteps` never waits.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from odenet.blocks.errors import BudgetWarning, advice, is_below_rounding, unknown_name
from odenet.blocks.field import Field
from odenet.blocks.precision import full_precision
from odenet.blocks.replay.graph_ends import KnownEnds
from odenet.blocks.replay.replay import Replay
from odenet.blocks.replay.substitution import Gate, replaced
from odenet.blocks.solvers.runge_kutta import RungeKutta
from odenet.blocks.stepping.accepted_steps import AcceptedStep, RecordedStep, accepted_steps, recording
from odenet.blocks.stepping.adjoint import Augmented, Dynamics, with_adjoint
from odenet.blocks.stepping.stopping import Stopped, default_budget, reason_of, require_end_state
from odenet.blocks.stepping.torchdiffeq_options import Request, bounded_below, check_options, options_on, positive_atol
from odenet.blocks.theta.base import Piece, wants_gradient


def check_method(method: str, options: Mapping[str, Any]) -> None:
    """Raise an error if torchdiffeq has no such method or option, with the nearest known name, or refuses its value."""
    if method not in solvers():
        raise unknown_name("method of torchdiffeq", method, solvers())
    known = _options_of(solvers()[method])
    for option in options:
        if option not in known:
            raise unknown_name(f"option of torchdiffeq's {method}", option, known)
    check_options(options)


def fixed_request(runge_kutta: RungeKutta, steps: int) -> Request:
    """Return a request for `steps` equal steps of a Runge-Kutta method of odenet in torchdiffeq's loop."""

    def grid(f: Callable, x: Tensor, t: Tensor) -> Tensor:  # noqa: ARG001
        return torch.linspace(t[0].item(), t[-1].item(), steps + 1, dtype=t.dtype, device=t.device)

    options = {"runge_kutta": runge_kutta, "grid_constructor": grid}
    return Request(repr(runge_kutta), _solver_of_our_steps(), options=options)


@cache
def _solver_of_our_steps() -> Any:
    """Return a subclass of torchdiffeq's fixed-grid solver whose option `runge_kutta` is the method of odenet."""
    from torchdiffeq._impl.fixed_grid import FixedGridODESolver

    class OnTheGrid(FixedGridODESolver):
        def __init__(self, *args: Any, runge_kutta: RungeKutta, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.runge_kutta = runge_kutta

        def _step_func(self, func: Callable, t0: Tensor, dt: Tensor, t1: Tensor, y0: Tensor) -> Any:  # noqa: ARG002
            def f(t: float, x: Tensor) -> Tensor:
                return func(torch.as_tensor(t, dtype=torch.float64, device=x.device), x)

            return self.runge_kutta.increment(f, t0.item(), t1.item(), y0), None

    return OnTheGrid


def solve(field: Field, piece: Piece, x: Tensor, request: Request) -> tuple[Tensor, bool]:
    """Return x(end) of a piece from x(start), and whether the end was reached within the budget.

    Args:
        field: vector field, with `piece` as its current piece.
        piece: piece of θ to solve over.
        x: state at the start of the piece.
        request: method, tolerances, options and budget.

    Raises:
        NonFiniteState: if a state or slope becomes NaN or infinite.
        ValueError: if a gradient is wanted through a method that torchdiffeq cannot differentiate.
    """
    func = _make_func(field, piece, x, request)
    captured = field.find_captures() if not isinstance(func, _StepTrackingField) and torch.is_grad_enabled() else []
    end, reached = _integrate(func, piece, x, request)
    complete = reached == piece.end
    if complete and (captured or wants_gradient([piece], x)) and not end.requires_grad:
        raise ValueError(
            f"a gradient was asked for through torchdiffeq's {request.method!r}, but its steps are computed outside "
            "PyTorch: use gradient=ContinuousAdjoint(), another method, or torch.no_grad()."
        )
    return end, complete


def solve_recording_steps(
    field: Field, piece: Piece, x: Tensor, request: Request
) -> tuple[Tensor, bool, list[AcceptedStep], list[Any]]:
    """Return the results of `solve`, then the accepted steps, and the states before them."""
    recorded = list[RecordedStep]()
    options = {**request.options, "recorded": recorded}
    end, complete = solve(field, piece, x, replace(request, solver=recording(request.solver), options=options))
    return end, complete, accepted_steps(request.method, request.solver, recorded), [step.state for step in recorded]


def solve_adjoint(
    field: Field, piece: Piece, x: Tensor, request: Request, backward: Mapping[str, Any]
) -> tuple[Tensor, bool]:
    """Return the results of `solve`, with the gradient of the continuous adjoint equation (Chen et al. 2018).

    Args:
        field: vector field, with `piece` as its current piece.
        piece: piece of θ to solve over.
        x: state at the start of the piece.
        request: method, tolerances, options and budget of the forward solve.
        backward: `adjoint_rtol`, `adjoint_atol` and `adjoint_method` of the backward solve, if they differ.
    """
    func = _make_func(field, piece, x, request)
    if torch.is_grad_enabled():
        func.captured = field.find_captures()
    func.replay.buffers.record()
    with torch.no_grad(), func.replay.first():
        end, reached = _integrate(func, piece, x, request)
    if reached == piece.start:
        return x, False
    func.forward, func.piece = False, piece._replace(end=reached)
    solve_backwards = partial(_integrate_backwards, func, request.for_backward(backward, solvers()))
    y = with_adjoint(x, end, func.adjoint_parameters(), func, solve_backwards)
    return y, reached == piece.end


def _integrate(func: _BudgetedField, piece: Piece, x: Tensor, request: Request) -> tuple[Tensor, float]:
    """Return the state reached and its t: the end of the piece, or the t at which the solve stopped early."""
    options = options_on(piece, piece.end, request, _options_of(request.solver), x.device)
    try:
        return _odeint(func, x, (piece.start, piece.end), request, options), piece.end
    except (Stopped, AssertionError) as stop:
        return func.state_reached(stop), func.time


def _integrate_backwards(func: _BudgetedField, request: Request, dynamics: Dynamics, state: Augmented) -> Augmented:
    """Return the augmented state at the start of the piece from the one at its end; an early stop is an error."""
    from torchdiffeq._impl.adjoint import handle_adjoint_norm_
    from torchdiffeq._impl.misc import _rms_norm

    piece = func.piece
    options = options_on(piece, piece.start, request, _options_of(request.solver), state[1].device)
    options.pop("norm", None)  # it is a norm of states, and not of augmented states
    handle_adjoint_norm_(options, None, _rms_norm)
    func.backward_evaluations = 0
    try:
        # Error control also measures the errors of the vector-Jacobian products.
        with full_precision(state[1].device.type), func.replay.again(), func.gate:
            return _odeint(dynamics, state, (piece.end, piece.start), request, options)
    except (Stopped, AssertionError) as stop:
        raise func.stopped_backwards(stop, request.atol) from stop


def _odeint(f: Any, x: Any, times: tuple[float, float], request: Request, options: Mapping[str, Any]) -> Any:
    """Return x(t1) as `torchdiffeq.odeint` does, for a tensor or a tuple of tensors, by the solver class of a request.

    `torchdiffeq.odeint` itself finds a solver class by its name in a table, which does not contain the subclasses
    defined here.
    """
    from torchdiffeq._impl.misc import _check_inputs, _flat_to_shape

    dtype, device = (x.dtype, x.device) if isinstance(x, Tensor) else (x[0].dtype, x[0].device)
    t = torch.tensor(times, dtype=torch.float64, device=device)
    table, atol = {request.method: request.solver}, positive_atol(request.atol, dtype)
    shapes, f, x, t, rtol, atol, _, options, *_ = _check_inputs(
        f, x, t, request.rtol, atol, request.method, options, None, table
    )
    if x.is_complex():
        options["norm"] = bounded_below(options["norm"])
    solution = request.solver(func=f, y0=x, rtol=rtol, atol=atol, **options).integrate(t)
    require_end_state(solution)
    return solution[1] if shapes is None else _flat_to_shape(solution[1], (), shapes)


class _BudgetedField:
    """The field that torchdiffeq evaluates over one piece: it enforces the budget, and replays in a backward pass."""

    def __init__(self, field: Field, piece: Piece, x: Tensor, request: Request) -> None:
        self.field, self.piece = field, piece
        self.method = request.method
        self.budget = request.max_evaluations
        self.default_budget = (
            default_budget(_options_of(request.solver), request.solver) if self.budget is None else math.inf
        )
        self.evaluations_before, self.rtol, self.atol = field.evaluations, request.rtol, request.atol
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
        if spent - self.evaluations_before * self.forward >= self.default_budget:
            raise Stopped(f"the default budget of {self.default_budget:.0f} evaluations on a piece is spent")
        # The trial step that finds the first h, or a rounded t, may lie outside the piece, where θ differs.
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
        """Return the tensors whose gradients the adjoint equation integrates: trainable parameters and captures."""
        tensors = dict.fromkeys([*self.replay.trainable, *self.captured])
        self.ends = {tensor: self.gate.stopping(tensor) for tensor in tensors}
        unfrozen_since = (p for p in self.replay.parameters() if p not in tensors)
        self.known = KnownEnds([*self.ends.values(), *unfrozen_since], self.field.label)
        return tuple(self.ends.values())

    @property
    def time(self) -> float:
        """Depth-time of the last accepted state."""
        return float(self._reached[0])

    def state_reached(self, stop: Exception) -> Tensor:
        """Return the last accepted state, and warn with the t and the reason of the stop."""
        t, state = self.time, self._reached[1]
        self.field.require_finite("state", t, state)
        if not is_below_rounding(self.rtol, state.dtype):  # otherwise torchdiffeq's trial steps are infinite for any F
            self.field.require_finite("slope F(t, x)", t, self._slope)
        warnings.warn(
            f"torchdiffeq's {self.method} stopped at t = {t:g} of {self.field.label} before t = {self.piece.end:g}: "
            f"{reason_of(stop)}. The state reached is returned, with a gradient that treats this t as independent of "
            f"x: {self._advice(state)}.",
            BudgetWarning,
            stacklevel=2,
        )
        return state

    def _advice(self, state: Tensor) -> str:
        exact = is_below_rounding(self.rtol, state.dtype)
        if self.atol == 0 and not exact and bool((state.abs() < torch.finfo(state.dtype).eps).any()):
            return "pass atol > 0, because a relative tolerance alone allows no error where x = 0"
        return advice(self.rtol, state.dtype)

    def stopped_backwards(self, stop: Exception, atol: float) -> RuntimeError:
        """Return the error for a backward solve that stopped before the start of the piece."""
        tolerances = "tolerances" if atol > 0 else "tolerances (atol > 0, as the gradients of parameters start from 0)"
        return RuntimeError(
            f"the adjoint equation of {self.field.label} was not solved back from t = {self.piece.end:g} to "
            f"t = {self.piece.start:g}: {reason_of(stop)}; the gradient would be incomplete: raise max_evaluations or "
            f"the {tolerances}, or use Backprop()."
        )


class _StepTrackingField(_BudgetedField):
    """A `_BudgetedField` that follows the steps: torchdiffeq calls `callback_step` with the last accepted state."""

    def callback_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:  # noqa: ARG002
        self._reached = (t0.detach(), y0)


def _make_func(field: Field, piece: Piece, x: Tensor, request: Request) -> _BudgetedField:
    if "callback_step" in request.solver.valid_callbacks():
        return _StepTrackingField(field, piece, x, request)
    _require_real_for_scipy(x, request, field.label)
    # SciPy's solvers do not terminate if a state is infinite.
    field.checks_finite = True
    field.require_finite("state", piece.start, x)
    return _BudgetedField(field, piece, x, request)


def _require_real_for_scipy(x: Tensor, request: Request, label: str) -> None:
    """Raise a `ValueError` if the state is complex and SciPy's solver supports only real numbers."""
    solver = request.options.get("solver", "LSODA")
    name = getattr(solver, "__name__", solver)
    if x.is_complex() and name in ("LSODA", "Radau"):
        raise ValueError(
            f"a solve by SciPy's {name} was asked for with a state of {x.dtype} in {label}, but {name} supports only "
            "real numbers: pass solver='RK45' or 'BDF', use another method, or torch.view_as_real(x)."
        )


def solvers() -> Mapping[str, Any]:
    """Return torchdiffeq's solver classes by the names of their methods."""
    from torchdiffeq._impl.odeint import SOLVERS

    return SOLVERS


@cache
def _options_of(solver: Any) -> list[str]:
    """Return the names of a solver's options: the keyword arguments of its constructors that odenet does not set."""
    given = {"self", "func", "y0", "rtol", "atol", "dtype", "args", "kwargs", "unused_kwargs"}
    classes = inspect.getmro(solver)
    if solver is solvers()["explicit_adams"]:
        given.add("implicit")  # the constructor of this class sets it itself
    names = {name for cls in classes if "__init__" in vars(cls) for name in inspect.signature(cls.__init__).parameters}
    return sorted(names - given)
