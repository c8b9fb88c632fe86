"""Reversible solvers: steps that can be undone by algebra, so that a backward pass needs the last state alone.

The state is a pair, and a step is a chain of *shears*, each of which moves one half by a function of the other:

    p ← c·p + m(q),      undone by      p ← (p - m(q))/c.

Whatever m is, the inverse evaluates it once, and at the same q. In exact arithmetic the state before is found exactly.
In floating point a rounding error grows by 1/c a step, and as the flow itself does backwards. So the pair is carried in
double precision where F computes in a lower one, and what rounding remains is far below F's own.
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
"""m(q), given the field."""


class Pair(NamedTuple):
    """The state of a reversible solver: two halves, each of the shape of x, and the precision that F computes in."""

    halves: tuple[Tensor, Tensor]
    dtype: torch.dtype

    def replaced(self, part: int, half: Tensor) -> Pair:
        """The pair with another half in the place `part`."""
        return Pair((self.halves[0], half) if part else (half, self.halves[1]), self.dtype)

    def field(self, f: VectorField) -> VectorField:
        """The field f for arguments in the precision of the halves."""
        if self.dtype == self.halves[0].dtype:
            return f

        def narrowed(t: Any, x: Tensor) -> Tensor:
            t = t.to(self.dtype) if isinstance(t, Tensor) else t
            return f(t, x.to(self.dtype)).to(x.dtype)

        return narrowed


class Shear(NamedTuple):
    """p ← c·p + m(q); `relative` to q it is p ← q + c·(p - q) + m(q), which leaves p = q where nothing moves.

    `part` is the place of p in the pair, q is the other half, and c = `scale` is not 0: one number, or one for each
    sample.
    """

    part: int
    move: Move
    scale: float | Tensor = 1.0
    relative: bool = False

    @property
    def is_scaled(self) -> bool:
        """Whether c may be another number than 1."""
        return isinstance(self.scale, Tensor) or self.scale != 1.0

    def applied(self, f: VectorField, pair: Pair) -> Pair:
        """The pair after the shear."""
        p, q = pair.halves[self.part], pair.halves[1 - self.part]
        moved = self.move(f, q)
        if not self.is_scaled:
            p = p + moved
        else:
            p = torch.lerp(q, p, self.scale) + moved if self.relative else self.scale * p + moved
        return pair.replaced(self.part, p)

    def undone(self, f: VectorField, pair: Pair) -> Pair:
        """The pair before the shear."""
        p, q = pair.halves[self.part], pair.halves[1 - self.part]
        return pair.replaced(self.part, self.back(p, q, self.move(f, q)))

    def back(self, p: Tensor, q: Tensor, moved: Tensor) -> Tensor:
        """The half p before the shear, given m(q)."""
        if not self.is_scaled:
            return p - moved
        return q + (p - moved - q) / self.scale if self.relative else (p - moved) / self.scale


class ReversibleSolver(Solver):
    """A solver whose step is a chain of shears. A subclass names the `shears`, and how the second half starts."""

    @abstractmethod
    def shears(self, t0: float, t1: float) -> Sequence[Shear]:
        """The shears of the step from t0 to t1, in order."""

    def growth(self, spans: Sequence[tuple[Any, Any, Any]]) -> float:
        """The logarithm of what undoing steps, given with piece, start and end, multiplies rounding errors by."""
        _, t0, t1 = spans[0]
        return len(spans) * sum(-math.log(abs(float(shear.scale))) for shear in self.shears(t0, t1))

    def partner(self, f: VectorField, t0: float, x: Tensor) -> Tensor:  # noqa: ARG002
        """The second half at t0, from x there: by default x too."""
        return x

    def start(self, f: VectorField, t0: float, x: Tensor) -> Pair:
        """The pair at t0."""
        wide = x.to(_carried_in(x))
        pair = Pair((wide, wide), x.dtype)
        return Pair((wide, self.partner(pair.field(f), t0, wide)), x.dtype)

    def step(self, f: VectorField, t0: float, t1: float, state: Any) -> Pair:
        """Every shear in turn."""
        f = state.field(f)
        for shear in self.shears(t0, t1):
            state = shear.applied(f, state)
        return state

    def step_back(self, f: VectorField, t0: float, t1: float, state: Any) -> Pair:
        """The state at t0 from the state at t1: every shear undone, the last one first."""
        f = state.field(f)
        for shear in reversed(self.shears(t0, t1)):
            state = shear.undone(f, state)
        return state

    def finish(self, state: Any) -> Tensor:
        """x, the first half."""
        return state.halves[0].to(state.dtype)


GROWTH = 5.0
"""The logarithm of what undoing all steps multiplies rounding errors by."""


class Coupled(ReversibleSolver):
    """A Runge-Kutta method Ψ made reversible by a pair that starts as (x, x), McCallum and Foster 2024.

        y₁ = c·y₀ + (1 - c)·z₀ + Ψ_h(z₀),      z₁ = z₀ - Ψ_{-h}(y₁),

    with Ψ_h the increment of a step; x is y. Of the order of Ψ, for twice its evaluations.

    The coupling c in (0, 1] is a compromise. Undoing N steps multiplies rounding errors by c⁻ᴺ. But nothing except
    1 - c keeps y and z together: around Euler, y′ = λ·y with λ < 0 is stable for h·|λ| < 1 - c, and for c = 1 not at
    all. By default c = exp(-5/N), for any N: rounding grows by e⁵ ≈ 150, far below F's own, and Euler is stable where
    a flow contracts by no more than e⁵ on the whole (for many steps; a coarse one has Ψ's own limit besides). A deep
    net of random weights may be chaotic, and want less growth: `coupling=0.99` for 200 blocks.

    >>> from odenet import RK4
    >>> round(Coupled(RK4()).fitted(steps=500).coupling, 6)
    0.99005

    Args:
        solver: Ψ, an explicit Runge-Kutta method.
        coupling: c; by default it follows from the number of steps in a solve.

    Raises:
        TypeError: Ψ is no Runge-Kutta method.
        ValueError: c outside (0, 1].
    """

    @checked
    def __init__(self, solver: Annotated[RungeKutta, Inside()], coupling: Number | None = None) -> None:
        if not isinstance(solver, RungeKutta):
            raise TypeError(
                f"Coupled was given {solver!r}; the increment of an explicit Runge-Kutta method is coupled: pass e.g. "
                "Euler(), Midpoint() or RK4()."
            )
        if coupling is not None and not 0 < coupling <= 1:
            raise ValueError(
                f"coupling = {coupling!r}; a step is undone by dividing by it, and above 1 the pair drifts apart: pass "
                "a number in (0, 1], near 1 for many steps, or None."
            )
        self.solver, self.coupling = solver, coupling

    @property
    def order(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] (that of another object)
        """Of Ψ."""
        return self.solver.order

    def fitted(self, steps: int) -> Coupled:
        """With the coupling that so many steps bear."""
        return self if self.coupling is not None else Coupled(self.solver, math.exp(-GROWTH / steps))

    def shears(self, t0: float, t1: float) -> Sequence[Shear]:
        """First y towards z and forwards from z, then z forwards from y."""
        c = 1.0 if self.coupling is None else self.coupling
        return (
            Shear(0, lambda f, z: self.solver.increment(f, t0, t1, z), scale=c, relative=True),
            Shear(1, lambda f, y: -self.solver.increment(f, t1, t0, y)),
        )


class AsynchronousLeapfrog(ReversibleSolver):
    """The asynchronous leapfrog of x and a velocity v that starts as f, Mutze 2013; MALI, Zhuang et al. 2021.

        u = f(t₀ + h/2, x₀ + h/2·v₀),      x₁ = x₀ + h·u,      v₁ = 2·u - v₀.

    Order 2 for one evaluation a step. Nothing is damped: v oscillates about f, by more and more where the flow
    contracts, and where θ jumps v stays behind. Not for long integrations of dissipative flows; `Coupled` is.
    """

    order = 2

    def partner(self, f: VectorField, t0: float, x: Tensor) -> Tensor:
        """v₀ = f(t₀, x₀)."""
        return f(t0, x)

    def shears(self, t0: float, t1: float) -> Sequence[Shear]:
        """First x by half a step, v reflected in the slope there, x by the other half."""
        half = (t1 - t0) / 2
        drift = Shear(0, lambda _, v: half * v)
        return drift, Shear(1, lambda f, x: 2 * f(t0 + half, x), scale=-1.0), drift


class ReversibleHeun(ReversibleSolver):
    """The reversible Heun method, a pair that starts as (x, x), Kidger et al. 2021.

        ŷ₁ = 2·y₀ - ŷ₀ + h·f(t₀, ŷ₀),      y₁ = y₀ + h/2·(f(t₀, ŷ₀) + f(t₁, ŷ₁)).

    Order 2, for two evaluations a step (the second could serve the next step, unless θ jumps between them).

    **Unstable.** For y′ = λ·y it is stable only where h·λ lies in [-i, i]: for *every* flow that contracts, y and ŷ
    move apart exponentially, at any step size. Over short horizons that hardly shows. It is here for comparison; use
    `Coupled(Heun())`, of the same order, which is stable.
    """

    order = 2

    def shears(self, t0: float, t1: float) -> Sequence[Shear]:
        """First y by half a step from ŷ, ŷ reflected in y, y by the other half."""
        half = (t1 - t0) / 2
        return (
            Shear(0, lambda f, y: half * f(t0, y)),
            Shear(1, lambda _, y: 2 * y, scale=-1.0),
            Shear(0, lambda f, y: half * f(t1, y)),
        )


class Leapfrog(ReversibleSolver):
    """The leapfrog block of Chang et al. 2018: x″ = F(t, x) with x′(0) = 0, an equation of the *second* order.

        x[k+1] - 2·x[k] + x[k-1] = h²·F(x[k]) at the middles of the steps; here with the velocity v = x′,

        x½ = x₀ + h/2·v₀,      v₁ = v₀ + h·F(t₀ + h/2, x½),      x₁ = x½ + h/2·v₁.

    Order 2 in x for one evaluation a step. Another flow than x′ = F, so a net is not to be moved to it or from it; it
    is stable where F has a symmetric Jacobian without positive eigenvalues, as that of `SymmetricBranch`.
    """

    order = 2

    def partner(self, f: VectorField, t0: float, x: Tensor) -> Tensor:  # noqa: ARG002
        """v₀ = 0."""
        return torch.zeros_like(x)

    def shears(self, t0: float, t1: float) -> Sequence[Shear]:
        """First x by half a step, v by a whole one, x by the other half."""
        h = t1 - t0
        drift = Shear(0, lambda _, v: h / 2 * v)
        return drift, Shear(1, lambda f, x: h * f(t0 + h / 2, x)), drift


class SymplecticEuler(ReversibleSolver):
    """The Hamiltonian block of Chang et al. 2018: the state is x = [y, z], two halves of its channels (dimension 1).

        y₁ = y₀ + h·F_y(t₀, z₀),      z₁ = z₀ + h·F_z(t₀, y₁),

    for F = [F_y, F_z] of which the first half depends on z alone and the second on y alone, as in `HamiltonianBranch`;
    anything else that F reads is not what it is given. Order 1. F is evaluated twice a step, for half of it each time.
    """

    order = 1

    def start(self, f: VectorField, t0: float, x: Tensor) -> Pair:  # noqa: ARG002
        """The halves of x.

        Raises:
            ValueError: an odd number of channels.
        """
        if x.dim() < 2 or x.shape[1] % 2:
            raise ValueError(
                f"SymplecticEuler was given a state of shape {tuple(x.shape)}; it moves one half of the channels, "
                "dimension 1, by the other: pass an even number of them."
            )
        y, z = x.to(_carried_in(x)).chunk(2, dim=1)
        return Pair((y, z), x.dtype)

    def shears(self, t0: float, t1: float) -> Sequence[Shear]:
        """First y by z, then z by y."""
        h = t1 - t0

        def move(f: VectorField, half: Tensor, part: int) -> Tensor:
            return h * f(t0, torch.cat([half, half], dim=1)).chunk(2, dim=1)[part]

        return Shear(0, lambda f, z: move(f, z, 0)), Shear(1, lambda f, y: move(f, y, 1))

    def finish(self, state: Any) -> Tensor:
        """[y, z]."""
        return torch.cat(state.halves, dim=1).to(state.dtype)


def _carried_in(x: Tensor) -> torch.dtype:
    """Double precision, where the device has it."""
    return x.dtype if x.device.type == "mps" else torch.promote_types(x.dtype, torch.float64)
