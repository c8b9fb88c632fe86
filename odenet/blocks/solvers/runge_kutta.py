r"""Solvers: one step of a numerical method over an interval [t₀, t₁] of depth-time, with h = t₁ - t₀.

An explicit Runge-Kutta method of s stages is its Butcher tableau (A, b, c):

    k_i = f(t₀ + c_i·h, x + h·Σ_{j<i} a_ij·k_j),      x₁ = x + h·Σ_i b_i·k_i.

A tableau is exact rational arithmetic and checks the order conditions that it claims (Hairer, Nørsett and Wanner,
*Solving Ordinary Differential Equations I*, section II.2, table 2.2). A name that torchdiffeq has too means the same
numbers here: `RK4` is Kutta's 3/8 rule, and the better known method is `ClassicalRK4`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, Any, ClassVar, TypeAlias

from torch import Tensor, add

from odenet.blocks.annotations import AnyWhole, MayBeEmpty, Whole
from odenet.blocks.arguments import check_fields
from odenet.blocks.errors import unknown_name

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


@dataclass(frozen=True)
class ButcherTableau:
    """The coefficients (A, b) of an explicit method, c = A·1, and the order that they satisfy.

    Args:
        order: the claimed order, 1 to 4; every order condition up to it is checked in exact arithmetic.
        a: the strictly lower triangular matrix A row by row, the first row empty.
        b: the weights.

    Raises:
        ValueError: rows that do not make an explicit method, or an order condition that fails (the message names it).
    """

    order: Whole
    a: Annotated[Sequence[Annotated[Sequence[Fraction | AnyWhole], MayBeEmpty()]], MayBeEmpty()]
    b: Sequence[Fraction | AnyWhole]
    c: tuple[Fraction, ...] = field(init=False)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.order not in (1, 2, 3, 4):
            raise ValueError(
                f"order = {self.order!r}; the conditions of orders 1 to 4 are checked here: claim one of these."
            )
        if [len(row) for row in self.a] != list(range(len(self.b))):
            raise ValueError(
                f"rows of A have lengths {[len(row) for row in self.a]} for {len(self.b)} stages; an explicit method "
                "has row i of length i: give the strictly lower triangle, the first row empty."
            )
        object.__setattr__(self, "c", tuple(sum(map(Fraction, row), Fraction(0)) for row in self.a))
        for order, condition, found, required in self._order_conditions():
            if order <= self.order and found != required:
                raise ValueError(
                    f"a tableau of order {self.order} has {condition} = {required}; these coefficients give {found}: "
                    "correct them, or claim a lower order."
                )

    def _order_conditions(self) -> Iterable[tuple[int, str, Fraction, Fraction]]:
        a, b, c = self.a, self.b, self.c

        def weighted(values: Iterable[Fraction]) -> Fraction:
            return sum((weight * value for weight, value in zip(b, values, strict=True)), Fraction(0))

        def through(values: Sequence[Fraction]) -> list[Fraction]:
            return [sum((x * y for x, y in zip(row, values, strict=False)), Fraction(0)) for row in a]

        one = Fraction(1)
        yield 1, "Σ b", weighted(one for _ in b), one
        yield 2, "Σ b·c", weighted(c), one / 2
        yield 3, "Σ b·c²", weighted(x**2 for x in c), one / 3
        yield 3, "Σ b·A·c", weighted(through(c)), one / 6
        yield 4, "Σ b·c³", weighted(x**3 for x in c), one / 4
        yield 4, "Σ b·c·A·c", weighted(x * y for x, y in zip(c, through(c), strict=True)), one / 8
        yield 4, "Σ b·A·c²", weighted(through([x**2 for x in c])), one / 12
        yield 4, "Σ b·A·A·c", weighted(through(through(c))), one / 24


class RungeKutta(Solver):
    """An explicit Runge-Kutta method: a subclass names its `tableau` and nothing else.

    A step costs `stages` evaluations of f. The tableau's rationals are rounded once, to Python floats.
    """

    tableau: ClassVar[ButcherTableau]
    stages: ClassVar[int]
    _rows: ClassVar[list[tuple[float, list[float]]]]
    _weights: ClassVar[list[float]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.order, cls.stages = cls.tableau.order, len(cls.tableau.b)
        cls._rows = [(float(c), [float(x) for x in row]) for c, row in zip(cls.tableau.c, cls.tableau.a, strict=True)]
        cls._weights = [float(x) for x in cls.tableau.b]

    def increment(self, f: VectorField, t0: float, t1: float, x: Tensor) -> Tensor:
        """h·Σ b_i·k_i, what the step from t₀ to t₁ adds to x; of the shape of x."""
        h = t1 - t0
        k: list[Tensor] = []
        for c, row in self._rows:
            t = t1 if c == 1 else t0 + c * h  # rounding may carry t₀ + h beyond t₁, where θ is another
            k.append(f(t, x + combination(h, row, k) if any(row) else x))
        return combination(h, self._weights, k)

    def step(self, f: VectorField, t0: float, t1: float, state: Tensor) -> Tensor:
        """x₁ = x + h·Σ b_i·k_i."""
        return state + self.increment(f, t0, t1, state)


def combination(h: float, weights: list[float], k: list[Tensor]) -> Tensor:
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


SOLVERS: dict[str, type[Solver]] = {
    "euler": Euler,
    "midpoint": Midpoint,
    "heun2": Heun,
    "ralston": Ralston,
    "heun3": Heun3,
    "rk4": RK4,
    "rk4_classical": ClassicalRK4,
}
"""The solvers of fixed steps by name, for command lines and records; torchdiffeq's names where it has the method."""


def solver_named(name: str) -> Solver:
    """The solver called `name` in `SOLVERS`.

    >>> solver_named("midpoint")
    Midpoint()

    Raises:
        ValueError: no such solver; the message gives the nearest name.
    """
    if name not in SOLVERS:
        raise unknown_name("solver", name, SOLVERS)
    return SOLVERS[name]()
