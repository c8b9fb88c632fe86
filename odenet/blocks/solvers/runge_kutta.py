r"""Solvers: one step of a numerical method over an interval [t₀, t₁] of depth-time, with h = t₁ - t₀.

An explicit Runge-Kutta method is its Butcher tableau (`tableau.py`), and one loop evaluates the stages of all of
them. A name that torchdiffeq has too means the same numbers here: `RK4` is Kutta's 3/8 rule, and the better known
method is `ClassicalRK4`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, ClassVar, TypeAlias

from torch import Tensor, add

from odenet.blocks.solvers.tableau import ButcherTableau, Stage

VectorField: TypeAlias = Callable[[float, Tensor], Tensor]
"""f(t, x) → x′, of the shape of x."""


class Solver(ABC):
    """A one-step method Φ_h of a given order: the local error of a step is O(h^(order+1)) where f is smooth.

    The state of most solvers is x itself. Those that carry more (a pair, the previous step) make it in `start`, from x
    at the beginning of the interval, and give x back in `finish`.
    """

    order: int

    def start(self, f: VectorField, t0: float, x: Tensor) -> Any:  # noqa: ARG002
        """The solver's state at t₀, from x(t₀)."""
        return x

    @abstractmethod
    def step(self, f: VectorField, t0: float, t1: float, state: Any) -> Any:
        """The state at t₁ from the state at t₀, in one step."""

    def finish(self, state: Any) -> Tensor:
        """The state x out of the solver's own state."""
        return state

    def fitted(self, steps: int) -> Solver:  # noqa: ARG002
        """The solver for a solve of so many steps, where a coefficient of the method depends on their number."""
        return self

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *sorted(vars(self).items())))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


def evaluate_stages(
    stages: Sequence[Stage],
    f: Callable[[Any, Any], Any],
    time: Callable[[float], Any],
    moved: Callable[[Sequence[float], list[Any]], Any],
    slopes: list[Any],
) -> tuple[list[Any], Any]:
    """Evaluate k_i = f(time(c_i), moved(a_i, k)) for each stage i in turn: the one loop of every explicit method.

    Args:
        stages: stages to evaluate.
        f: vector field.
        time: c ↦ t₀ + c·h.
        moved: (a_i, k) ↦ x + h·Σ_j a_ij·k_j.
        slopes: slopes of the stages before these, to which the new ones are appended.

    Returns:
        All slopes, and the state at which the last one was evaluated: x₁ if the method is first same as last.
    """
    x: Any = None
    for c, weights in stages:
        x = moved(weights, slopes)
        slopes.append(f(time(c), x))
    return slopes, x


class RungeKutta(Solver):
    """An explicit Runge-Kutta method: a subclass names its `tableau` and nothing else.

    A step costs `stages` evaluations of f. The tableau's rationals are rounded once, to Python floats.
    """

    tableau: ClassVar[ButcherTableau]
    stages: ClassVar[int]
    _stages: ClassVar[tuple[Stage, ...]]
    _weights: ClassVar[tuple[float, ...]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        tableau = cls.tableau
        # The last slope of a pair that is first same as last serves the error alone, which fixed steps do not ask for.
        cls.order, cls.stages = tableau.order, len(tableau.b) - tableau.is_first_same_as_last
        cls._stages, cls._weights = tableau.stages[: cls.stages], tableau.weights[: cls.stages]

    def increment(self, f: VectorField, t0: float, t1: float, x: Tensor) -> Tensor:
        """h·Σ b_i·k_i, what the step from t₀ to t₁ adds to x; of the shape of x."""
        h = t1 - t0

        def time(c: float) -> float:
            return t1 if c == 1 else t0 + c * h  # rounding may carry t₀ + h beyond t₁, where θ is another

        def moved(weights: Sequence[float], slopes: list[Tensor]) -> Tensor:
            return x + combination(h, weights, slopes) if any(weights) else x

        slopes, _ = evaluate_stages(self._stages, f, time, moved, [])
        return combination(h, self._weights, slopes)

    def step(self, f: VectorField, t0: float, t1: float, state: Tensor) -> Tensor:
        """x₁ = x + h·Σ b_i·k_i."""
        return state + self.increment(f, t0, t1, state)


def combination(h: float, weights: Sequence[float], k: list[Tensor]) -> Tensor:
    """Σ (h·w_i)·k_i over the w_i ≠ 0; nothing is multiplied by one, so that Euler at h = 1 is x + f exactly."""
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
        """h·f(t₀, x); the sum over one stage, without looking for others."""
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
    """Kutta's 3/8 rule, order 4: b = 1/8, 3/8, 3/8, 1/8; what torchdiffeq calls `rk4`."""

    tableau = ButcherTableau(
        order=4,
        a=[[], [_THIRD], [-_THIRD, 1], [1, -1, 1]],
        b=[Fraction(1, 8), Fraction(3, 8), Fraction(3, 8), Fraction(1, 8)],
    )


class ClassicalRK4(RungeKutta):
    """The classical method of order 4: c = 0, 1/2, 1/2, 1, b = 1/6, 1/3, 1/3, 1/6."""

    tableau = ButcherTableau(
        order=4,
        a=[[], [_HALF], [0, _HALF], [0, 0, 1]],
        b=[Fraction(1, 6), _THIRD, _THIRD, Fraction(1, 6)],
    )
