"""Reversible solvers: their steps have an algebraic inverse, so that a backward pass only needs the last state.

The state is a pair (p, q), and a step is a composition of *shears*, each of which moves one half by a function of the
other:

    p ← c·p + m(q),      with the inverse      p ← (p - m(q))/c.

Whatever m is, the inverse evaluates it once, at the same q. In exact arithmetic the inverse recovers the former state
exactly. In floating point a rounding error grows by a factor 1/c per step, besides the growth under the backward flow.
Therefore the pair is stored in double precision even if F computes in a lower precision, so that the rounding errors of
the pair stay far below those of F.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from odenet.blocks.annotations import Inside, Number
from odenet.blocks.arguments import checked
from odenet.blocks.solvers.runge_kutta import RungeKutta, Solver, VectorField

Move: TypeAlias = Callable[[VectorField, Tensor], Tensor]
"""Function (f, q) ↦ m(q), where f is the vector field."""


class Pair(NamedTuple):
    """State of a reversible solver: two halves of the shape of x, and the precision in which F computes."""

    halves: tuple[Tensor, Tensor]
    dtype: torch.dtype

    def replaced(self, part: int, half: Tensor) -> Pair:
        """Return the pair with its half number `part` replaced."""
        return Pair((self.halves[0], half) if part else (half, self.halves[1]), self.dtype)

    def field(self, f: VectorField) -> VectorField:
        """Return the field f for arguments and results in the precision of the halves."""
        if self.dtype == self.halves[0].dtype:
            return f

        def narrowed(t: Any, x: Tensor) -> Tensor:
            t = t.to(self.dtype) if isinstance(t, Tensor) else t
            return f(t, x.to(self.dtype)).to(x.dtype)

        return narrowed


class Shear(NamedTuple):
    """p ← c·p + m(q), a shear of the pair; if `relative`, p ← q + c·(p - q) + m(q), which keeps p = q where m = 0.

    `part` is the index of p in the pair, and q is the other half. The factor c = `scale` is not 0; it is one number, or
    a tensor with one for each sample.
    """

    part: int
    move: Move
    scale: float | Tensor = 1.0
    relative: bool = False

    @property
    def is_scaled(self) -> bool:
        """Whether c may differ from 1."""
        return isinstance(self.scale, Tensor) or self.scale != 1.0

    def applied(self, f: VectorField, pair: Pair) -> Pair:
        """Return the pair after the shear."""
        p, q = pair.halves[self.part], pair.halves[1 - self.part]
        moved = self.move(f, q)
        if not self.is_scaled:
            p = p + moved
        else:
            p = torch.lerp(q, p, self.scale) + moved if self.relative else self.scale * p + moved
        return pair.replaced(self.part, p)

    def undone(self, f: VectorField, pair: Pair) -> Pair:
        """Return the pair before the shear, from the pair after it."""
        p, q = pair.halves[self.part], pair.halves[1 - self.part]
        return pair.replaced(self.part, self.back(p, q, self.move(f, q)))

    def back(self, p: Tensor, q: Tensor, moved: Tensor) -> Tensor:
        """Return the half p before the shear, from p after it, q, and m(q)."""
        if not self.is_scaled:
            return p - moved
        return q + (p - moved - q) / self.scale if self.relative else (p - moved) / self.scale


class ReversibleSolver(Solver):
    """A solver whose step is a composition of shears; a subclass defines them, and the initial second half."""

    @abstractmethod
    def shears(self, t0: float, t1: float) -> Sequence[Shear]:
        """Return the shears of the step from t0 to t1, in order."""

    def growth(self, spans: Sequence[tuple[Any, Any, Any]]) -> float:
        """Return the logarithm of the growth of rounding errors when the steps (piece, start, end) are undone."""
        _, t0, t1 = spans[0]
        return len(spans) * sum(-math.log(abs(float(shear.scale))) for shear in self.shears(t0, t1))

    def partner(self, f: VectorField, t0: float, x: Tensor) -> Tensor:  # noqa: ARG002
        """Return the initial second half at t0, from x = x(t0); by default it is x too."""
        return x

    def start(self, f: VectorField, t0: float, x: Tensor) -> Pair:
        """Return the pair at t0."""
        wide = x.to(pair_dtype(x))
        pair = Pair((wide, wide), x.dtype)
        return Pair((wide, self.partner(pair.field(f), t0, wide)), x.dtype)

    def step(self, f: VectorField, t0: float, t1: float, state: Any) -> Pair:
        """Return the pair at t1: apply every shear in turn."""
        f = state.field(f)
        for shear in self.shears(t0, t1):
            state = shear.applied(f, state)
        return state

    def step_back(self, f: VectorField, t0: float, t1: float, state: Any) -> Pair:
        """Return the pair at t0 from the pair at t1: undo every shear, the last one first."""
        f = state.field(f)
        for shear in reversed(self.shears(t0, t1)):
            state = shear.undone(f, state)
        return state

    def finish(self, state: Any) -> Tensor:
        """Return x, the first half of the pair."""
        return state.halves[0].to(state.dtype)


GROWTH = 5.0
"""Logarithm of the factor by which rounding errors grow when all steps are undone, for the default coupling."""


class Coupled(ReversibleSolver):
    """A Runge-Kutta method Ψ made reversible by coupling a pair that starts as (x, x) (McCallum and Foster 2024).

        y₁ = c·y₀ + (1 - c)·z₀ + Ψ_h(z₀),      z₁ = z₀ - Ψ_{-h}(y₁),

    where Ψ_h is the increment of a step of length h, and x is y. The order is that of Ψ, for twice its evaluations.

    The coupling c in (0, 1] is a compromise. Undoing N steps multiplies rounding errors by c⁻ᴺ. On the other hand, only
    the factor 1 - c keeps y and z together: with Euler's method, y′ = λ·y with λ < 0 is stable for h·|λ| < 1 - c, and
    unstable for c = 1. The default c = exp(-5/N) suits any N: rounding errors grow by e⁵ ≈ 150 and stay far below those
    of F, and Euler's method is stable if the whole flow contracts by at most e⁵ (with few steps, the stability limit of
    Ψ itself applies too). A deep network with random weights may be chaotic and need less growth, for example
    `coupling=0.99` for 200 blocks.

    >>> from odenet import RK4
    >>> round(Coupled(RK4()).fitted(steps=500).coupling, 6)
    0.99005

    Args:
        solver: explicit Runge-Kutta method Ψ.
        coupling: coupling c; by default exp(-5/N) for a solve of N steps.

    Raises:
        TypeError: if `solver` is not an explicit Runge-Kutta method.
        ValueError: if the coupling lies outside (0, 1].
    """

    @checked
    def __init__(self, solver: Annotated[RungeKutta, Inside()], coupling: Number | None = None) -> None:
        if not isinstance(solver, RungeKutta):
            raise TypeError(
                f"Coupled was given {solver!r}; it couples the increments of an explicit Runge-Kutta method: pass e.g. "
                "Euler(), Midpoint() or RK4()."
            )
        if coupling is not None and not 0 < coupling <= 1:
            raise ValueError(
                f"coupling = {coupling!r}; steps are undone by dividing by it, and above 1 the pair drifts apart: pass "
                "a number in (0, 1], near 1 for many steps, or None."
            )
        self.solver, self.coupling = solver, coupling

    @property
    def order(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] (a property of Ψ)
        """Order of Ψ."""
        return self.solver.order

    def fitted(self, steps: int) -> Coupled:
        """Return the solver with the default coupling exp(-5/N) for N = `steps`, unless a coupling was given."""
        return self if self.coupling is not None else Coupled(self.solver, math.exp(-GROWTH / steps))

    def shears(self, t0: float, t1: float) -> Sequence[Shear]:
        """Return the shear that moves y towards z plus Ψ_h(z), and the shear that moves z by -Ψ_{-h}(y)."""
        c = 1.0 if self.coupling is None else self.coupling
        return (
            Shear(0, lambda f, z: self.solver.increment(f, t0, t1, z), scale=c, relative=True),
            Shear(1, lambda f, y: -self.solver.increment(f, t1, t0, y)),
        )


class AsynchronousLeapfrog(ReversibleSolver):
    """The asynchronous leapfrog method for x and a velocity v = f at first (Mutze 2013; MALI, Zhuang et al. 2021).

        u = f(t₀ + h/2, x₀ + h/2·v₀),      x₁ = x₀ + h·u,      v₁ = 2·u - v₀.

    Order 2, with one evaluation per step. The method has no damping: v oscillates about f, with growing amplitude if
    the flow contracts, and does not follow a jump of θ. It is not suited to long integrations of dissipative flows; use
    `Coupled` for those.
    """

    order = 2

    def partner(self, f: VectorField, t0: float, x: Tensor) -> Tensor:
        """Return v₀ = f(t₀, x₀)."""
        return f(t0, x)

    def shears(self, t0: float, t1: float) -> Sequence[Shear]:
        """Return the shears: move x by h/2·v, reflect v in the slope there, move x by h/2·v."""
        half = (t1 - t0) / 2
        drift = Shear(0, lambda _, v: half * v)
        return drift, Shear(1, lambda f, x: 2 * f(t0 + half, x), scale=-1.0), drift


class ReversibleHeun(ReversibleSolver):
    """The reversible Heun method, for a pair (y, ŷ) that starts as (x, x) (Kidger et al. 2021).

        ŷ₁ = 2·y₀ - ŷ₀ + h·f(t₀, ŷ₀),      y₁ = y₀ + h/2·(f(t₀, ŷ₀) + f(t₁, ŷ₁)).

    Order 2, with two evaluations per step (the next step could reuse the second, unless θ jumps between them).

    **Unstable.** For y′ = λ·y the method is stable only if h·λ lies in [-i, i]: for *every* flow that contracts, y and
    ŷ diverge exponentially at any step size, although this hardly shows over short horizons. It is here for comparison;
    `Coupled(Heun())` has the same order and is stable.
    """

    order = 2

    def shears(self, t0: float, t1: float) -> Sequence[Shear]:
        """Return the shears: move y by half a step at ŷ, reflect ŷ in y, move y by half a step at the new ŷ."""
        half = (t1 - t0) / 2
        return (
            Shear(0, lambda f, y: half * f(t0, y)),
            Shear(1, lambda _, y: 2 * y, scale=-1.0),
            Shear(0, lambda f, y: half * f(t1, y)),
        )


class Leapfrog(ReversibleSolver):
    """The leapfrog block of Chang et al. 2018: x″ = F(t, x) with x′(0) = 0, an equation of *second* order.

        x[k+1] - 2·x[k] + x[k-1] = h²·F(x[k]) at the midpoints of the steps, or, with the velocity v = x′,

        x½ = x₀ + h/2·v₀,      v₁ = v₀ + h·F(t₀ + h/2, x½),      x₁ = x½ + h/2·v₁.

    Order 2 in x, with one evaluation per step. The flow differs from x′ = F, so a network trained with one of them
    should not be run with the other. It is stable if the Jacobian of F is symmetric without positive eigenvalues, as
    that of `SymmetricBranch` is.
    """

    order = 2
    solves_any_field = False  # x″ = F

    def partner(self, f: VectorField, t0: float, x: Tensor) -> Tensor:  # noqa: ARG002
        """Return v₀ = 0."""
        return torch.zeros_like(x)

    def shears(self, t0: float, t1: float) -> Sequence[Shear]:
        """Return the shears: move x by h/2·v, move v by h·F at the midpoint, move x by h/2·v."""
        h = t1 - t0
        drift = Shear(0, lambda _, v: h / 2 * v)
        return drift, Shear(1, lambda f, x: h * f(t0 + h / 2, x)), drift


def pair_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of the halves: double precision if the device supports it."""
    return x.dtype if x.device.type == "mps" else torch.promote_types(x.dtype, torch.float64)
