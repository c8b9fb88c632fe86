r"""The interface of solvers, one step over an interval [t₀, t₁] of depth-time, and the explicit Runge-Kutta methods.

An explicit Runge-Kutta method is defined by its Butcher tableau (`tableau.py`), and one loop evaluates the stages of
all of them. A method that torchdiffeq has under the same name has the same coefficients here: `RK4` is Kutta's 3/8
rule, and the better known method is `ClassicalRK4`. Throughout, h = t₁ - t₀.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, ClassVar, TypeAlias

from torch import Tensor, add

from odenet.blocks.properties import Value
from odenet.blocks.solvers.tableau import ButcherTableau, Stage

VectorField: TypeAlias = Callable[[float, Tensor], Tensor]
"""Function f(t, x) → x′, of the shape of x."""


class Solver(Value, ABC):
    """A one-step method Φ_h of a given order: the local error of a step is O(h^(order+1)) where f is smooth.

    The state of most solvers is x itself. A solver that carries more (a pair, the previous step) makes its state in
    `start`, from x at the beginning of the interval, and returns x in `finish`.
    """

    order: int
    """Order p of convergence: the error of a solve is O(h^p)."""
    solves_any_field = True
    """Whether the method solves x′ = f for every f, and not another equation or fields of a special form only."""

    def start(self, f: VectorField, t0: float, x: Tensor) -> Any:  # noqa: ARG002
        """Return the state of the solver at t₀, made from x = x(t₀)."""
        return x

    @abstractmethod
    def step(self, f: VectorField, t0: float, t1: float, state: Any) -> Any:
        """Return the state of the solver at t₁, one step after `state` at t₀."""

    def finish(self, state: Any) -> Tensor:
        """Return x, taken from the state of the solver."""
        return state

    def fitted(self, steps: int) -> Solver:  # noqa: ARG002
        """Return the solver for a solve of `steps` steps, which differs if a coefficient depends on their number."""
        return self


def evaluate_stages(
    stages: Sequence[Stage],
    f: Callable[[Any, Any], Any],
    time: Callable[[float], Any],
    moved: Callable[[Sequence[float], list[Any]], Any],
    slopes: list[Any],
) -> tuple[list[Any], Any]:
    """Evaluate k_i = f(time(c_i), moved(a_i, k)) for each stage i in turn; every explicit method uses this loop.

    Args:
        stages: stages to evaluate.
        f: vector field.
        time: c ↦ t₀ + c·h.
        moved: (a_i, k) ↦ x + h·Σ_j a_ij·k_j.
        slopes: slopes of earlier stages; the new slopes are appended to this list.

    Returns:
        All slopes, and the state at which the last one was evaluated: x₁ if the method is first same as last.
    """
    x: Any = None
    for c, weights in stages:
        x = moved(weights, slopes)
        slopes.append(f(time(c), x))
    return slopes, x


class RungeKutta(Solver):
    """An explicit Runge-Kutta method; a subclass only defines its `tableau`.

    A step costs `stages` evaluations of f. The rational coefficients are rounded once, to Python floats.
    """

    tableau: ClassVar[ButcherTableau]
    stages: ClassVar[int]
    _stages: ClassVar[tuple[Stage, ...]]
    _weights: ClassVar[tuple[float, ...]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        tableau = cls.tableau
        # The last slope of a first-same-as-last pair only serves the error estimate, which fixed steps do not need.
        cls.order, cls.stages = tableau.order, len(tableau.b) - tableau.is_first_same_as_last
        cls._stages, cls._weights = tableau.stages[: cls.stages], tableau.weights[: cls.stages]

    def increment(self, f: VectorField, t0: float, t1: float, x: Tensor) -> Tensor:
        """Return the increment h·Σ b_i·k_i that the step from t₀ to t₁ adds to x."""
        h = t1 - t0

        def time(c: float) -> float:
            return t1 if c == 1 else t0 + c * h  # t₀ + h may round to beyond t₁, where θ differs

        def moved(weights: Sequence[float], slopes: list[Tensor]) -> Tensor:
            return x + combination(h, weights, slopes) if any(weights) else x

        slopes, _ = evaluate_stages(self._stages, f, time, moved, [])
        return combination(h, self._weights, slopes)

    def step(self, f: VectorField, t0: float, t1: float, state: Tensor) -> Tensor:
        """Return x₁ = x + h·Σ b_i·k_i."""
        return state + self.increment(f, t0, t1, state)


def combination(h: float, weights: Sequence[float], k: list[Tensor]) -> Tensor:
    """Return Σ (h·w_i)·k_i over w_i ≠ 0, without multiplications by 1, so that Euler with h = 1 is x + f exactly."""
    terms = [(h * weight, slope) for weight, slope in zip(weights, k, strict=True) if weight != 0]
    (scale, total), *rest = terms
    if scale != 1.0:
        total = scale * total
    for scale, slope in rest:
        total = add(total, slope, alpha=scale)
    return total


_HALF, _THIRD = Fraction(1, 2), Fraction(1, 3)


class Euler(RungeKutta):
    """x₁ = x + h·f(t₀, x): order 1, the step that a residual block takes with h = 1."""

    tableau = ButcherTableau(order=1, a=[[]], b=[1])

    def increment(self, f: VectorField, t0: float, t1: float, x: Tensor) -> Tensor:
        """Return h·f(t₀, x), without the overhead of the general loop over stages."""
        h, slope = t1 - t0, f(t0, x)
        return slope if h == 1.0 else h * slope


class Midpoint(RungeKutta):
    """x₁ = x + h·f(t₀ + h/2, x + h/2·f(t₀, x)): order 2, torchdiffeq's `midpoint`."""

    tableau = ButcherTableau(order=2, a=[[], [_HALF]], b=[0, 1])


class Heun(RungeKutta):
    """x₁ = x + h/2·(k₁ + k₂), k₂ at the Euler point: order 2, the explicit trapezoidal rule, torchdiffeq's `heun2`."""

    tableau = ButcherTableau(order=2, a=[[], [1]], b=[_HALF, _HALF])


class Ralston(RungeKutta):
    """The two-stage method of order 2 with the least bound on its local error (Ralston 1962): c₂ = 2/3."""

    tableau = ButcherTableau(order=2, a=[[], [2 * _THIRD]], b=[Fraction(1, 4), Fraction(3, 4)])


class Heun3(RungeKutta):
    """Heun's method of order 3: c = 0, 1/3, 2/3, b = 1/4, 0, 3/4; torchdiffeq's `heun3`."""

    tableau = ButcherTableau(order=3, a=[[], [_THIRD], [0, 2 * _THIRD]], b=[Fraction(1, 4), 0, Fraction(3, 4)])


class RK4(RungeKutta):
    """Kutta's 3/8 rule, order 4: b = 1/8, 3/8, 3/8, 1/8; torchdiffeq's `rk4`."""

    tableau = ButcherTableau(
        order=4,
        a=[[], [_THIRD], [-_THIRD, 1], [1, -1, 1]],
        b=[Fraction(1, 8), Fraction(3, 8), Fraction(3, 8), Fraction(1, 8)],
    )


class ClassicalRK4(RungeKutta):
    """The classical Runge-Kutta method, order 4: c = 0, 1/2, 1/2, 1, b = 1/6, 1/3, 1/3, 1/6."""

    tableau = ButcherTableau(
        order=4,
        a=[[], [_HALF], [0, _HALF], [0, 0, 1]],
        b=[Fraction(1, 6), _THIRD, _THIRD, Fraction(1, 6)],
    )
