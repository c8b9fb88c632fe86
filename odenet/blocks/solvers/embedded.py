r"""Embedded pairs: two explicit Runge-Kutta methods on the same stages, whose difference measures the error of a step.

    k_i = f(t₀ + c_i·h, x + h·Σ_{j<i} a_ij·k_j),      x₁ = x + h·Σ_i b_i·k_i,      error = h·Σ_i e_i·k_i,   e = b - b̂.

Here the last row of A is b, so the last slope is f(t₀ + h, x₁), the first one of the next step ("first same as last",
FSAL). A method is right to order p where Σ_i b_i·Φ_i(τ) = 1/γ(τ) for every rooted tree τ of at most p nodes (Hairer,
Nørsett and Wanner, *Solving Ordinary Differential Equations I*, section II.2, theorem 2.13). A pair checks these
conditions in exact arithmetic when it is made. A name that torchdiffeq has too means the same numbers here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from itertools import combinations_with_replacement
from math import prod
from typing import TypeAlias

Tree: TypeAlias = tuple["Tree", ...]
"""A rooted tree: the trees that hang on its root. `()` is a single node."""


@cache
def rooted_trees(nodes: int) -> tuple[Tree, ...]:
    """The rooted trees of so many nodes, each once; 1, 1, 2, 4, 9, 20, … of them.

    >>> rooted_trees(3)
    (((), ()), (((),),))
    """
    return tuple(sorted(_forests(nodes - 1, nodes - 1)))


def _forests(nodes: int, largest: int) -> Iterator[Tree]:
    """Collections of rooted trees with `nodes` nodes together and at most `largest` each."""
    if nodes == 0:
        yield ()
    for size in range(min(nodes, largest), 0, -1):
        for copies in range(1, nodes // size + 1):
            for those in combinations_with_replacement(rooted_trees(size), copies):
                for others in _forests(nodes - size * copies, size - 1):
                    yield those + others


def density(tree: Tree) -> int:
    """γ(τ), the number of nodes times the densities of the trees on the root."""
    return _size(tree) * prod(map(density, tree))


def _size(tree: Tree) -> int:
    return 1 + sum(map(_size, tree))


@dataclass(frozen=True)
class EmbeddedPair:
    """An explicit method (A, b) of order p, and error weights e such that b - e has order `embedded_order`.

    Args:
        order: p; every order condition up to it is checked.
        embedded_order: of the method with the weights b - e.
        a: the rows of A after the first, which is empty; the last one is b, without its last weight, which is 0.
        error: e, one weight a stage.
        middle: weights m such that x + h·Σ m_i·k_i is x(t₀ + h/2) to order 4; none where the method has no such.
        rounding: how far a condition may be missed by coefficients that were published as decimals; 0 for exact ones.

    Raises:
        ValueError: rows that make no explicit method, or an order condition that fails (the message names it).
    """

    order: int
    embedded_order: int
    a: Sequence[Sequence[Fraction]]
    error: Sequence[Fraction]
    middle: Sequence[Fraction] = ()
    rounding: Fraction = Fraction(0)
    c: tuple[float, ...] = field(init=False)
    rows: tuple[tuple[float, ...], ...] = field(init=False)
    error_weights: tuple[float, ...] = field(init=False)
    middle_weights: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        lengths = [len(row) for row in self.a]
        if lengths != list(range(1, len(self.error))) or len(self.middle) not in (0, len(self.error)):
            raise ValueError(
                f"rows of A have lengths {lengths} for {len(self.error)} error and {len(self.middle)} middle weights; "
                "an explicit method of s stages has rows of lengths 1, …, s - 1 and s weights: give the strictly lower "
                "triangle without its empty first row, the last row being b."
            )
        weights = [*self.a[-1], Fraction(0)]
        self._check("b", weights, self.order, Fraction(1))
        self._check(
            "b - e", [b - e for b, e in zip(weights, self.error, strict=True)], self.embedded_order, Fraction(1)
        )
        if self.middle:
            self._check("m", self.middle, 4, Fraction(1, 2))
        nodes = [sum(row) for row in self.a]
        rounded = {
            "c": (0.0, *(1.0 if abs(c - 1) <= self.rounding else float(c) for c in nodes)),
            "rows": tuple(tuple(map(float, row)) for row in self.a),
            "error_weights": tuple(map(float, self.error)),
            "middle_weights": tuple(map(float, self.middle)),
        }
        for name, values in rounded.items():
            object.__setattr__(self, name, values)

    @property
    def stages(self) -> int:
        """s; a step costs s - 1 evaluations, for its first slope is known."""
        return len(self.error)

    def _check(self, name: str, weights: Sequence[Fraction], order: int, at: Fraction) -> None:
        """Σ w·Φ(τ) = at^|τ|/γ(τ) for all trees of up to `order` nodes: x(t₀ + at·h) is met to that order."""
        for nodes in range(1, order + 1):
            for tree in rooted_trees(nodes):
                found = sum((w * phi for w, phi in zip(weights, self._elementary(tree), strict=True)), Fraction(0))
                required = at**nodes / density(tree)
                if abs(found - required) > self.rounding:
                    raise ValueError(
                        f"weights {name} of order {order} meet Σ {name}·Φ(τ) = {required} for the tree τ = {tree}; "
                        f"these coefficients give {found}: correct them, or claim a lower order."
                    )

    def _elementary(self, tree: Tree) -> list[Fraction]:
        """Φ_i(τ) = Π over the trees σ on the root of Σ_j a_ij·Φ_j(σ), for every stage i."""
        branches = [self._elementary(branch) for branch in tree]
        rows = ((), *self.a)
        return [
            prod((sum(map(Fraction.__mul__, row, phi), Fraction(0)) for phi in branches), start=Fraction(1))
            for row in rows
        ]


def _row(text: str) -> list[Fraction]:
    return [Fraction(number) for number in text.split()]


def _difference(b: str, other: str) -> list[Fraction]:
    return [x - y for x, y in zip(_row(b), _row(other), strict=True)]


DOPRI5 = EmbeddedPair(
    order=5,
    embedded_order=4,
    a=[
        _row("1/5"),
        _row("3/40 9/40"),
        _row("44/45 -56/15 32/9"),
        _row("19372/6561 -25360/2187 64448/6561 -212/729"),
        _row("9017/3168 -355/33 46732/5247 49/176 -5103/18656"),
        _row("35/384 0 500/1113 125/192 -2187/6784 11/84"),
    ],
    error=_difference(
        "35/384 0 500/1113 125/192 -2187/6784 11/84 0",
        "1951/21600 0 22642/50085 451/720 -12231/42400 649/6300 1/60",
    ),
    middle=_row(
        "6025192743/60171106304 0 51252292925/130801643196 -2691868925/90256659456 187940372067/3189068634112 "
        "-1776094331/39487288512 11237099/470086768"
    ),
)
"""Dormand and Prince 1980, order 5(4), with the embedded method of Shampine 1986: torchdiffeq's `dopri5`."""

TSIT5 = EmbeddedPair(
    order=5,
    embedded_order=4,
    a=[
        _row("0.161"),
        _row("-0.008480655492356989 0.335480655492357"),
        _row("2.8971530571054935 -6.359448489975075 4.3622954328695815"),
        _row("5.325864828439257 -11.748883564062828 7.4955393428898365 -0.09249506636175525"),
        _row("5.86145544294642 -12.92096931784711 8.159367898576159 -0.071584973281401 -0.028269050394068383"),
        _row("0.09646076681806523 0.01 0.4798896504144996 1.379008574103742 -3.290069515436081 2.324710524099774"),
    ],
    error=_row(
        "-0.00178001105222577714 -0.0008164344596567469 0.007880878010261995 -0.1447110071732629 0.5823571654525552 "
        "-0.45808210592918697 1/66"
    ),
    middle=_row(
        "0.107412352300968751 0.01135625 0.395609030560453098 -0.344752143525935475 1.316185364958164740 "
        "-1.017060854293651207 1/32"
    ),
    rounding=Fraction("1e-13"),
)
"""Tsitouras 2011, order 5(4), published as decimals."""

BOSH3 = EmbeddedPair(
    order=3,
    embedded_order=2,
    a=[_row("1/2"), _row("0 3/4"), _row("2/9 1/3 4/9")],
    error=_difference("2/9 1/3 4/9 0", "7/24 1/4 1/3 1/8"),
)
"""Bogacki and Shampine 1989, order 3(2): torchdiffeq's `bosh3`."""

HEUN_EULER = EmbeddedPair(
    order=2, embedded_order=1, a=[_row("1"), _row("1/2 1/2")], error=_difference("1/2 1/2 0", "1 0 0")
)
"""Heun with Euler, order 2(1): the numbers of torchdiffeq's `adaptive_heun`.

The slope handed on is that at x₁; torchdiffeq hands on the one at Euler's point beside it.
"""

PAIRS = {"dopri5": DOPRI5, "tsit5": TSIT5, "bosh3": BOSH3, "adaptive_heun": HEUN_EULER}
"""The pairs by name; torchdiffeq's names where it has the method."""
