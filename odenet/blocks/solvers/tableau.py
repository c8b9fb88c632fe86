r"""Butcher tableaus (A, b, c) of explicit Runge-Kutta methods, which verify their own order.

    k_i = f(t₀ + c_i·h, x + h·Σ_{j<i} a_ij·k_j),      x₁ = x + h·Σ_i b_i·k_i,      error = h·Σ_i e_i·k_i.

A method has order p if Σ_i b_i·Φ_i(τ) = 1/γ(τ) for every rooted tree τ of at most p nodes (Hairer, Nørsett and Wanner,
*Solving Ordinary Differential Equations I*, section II.2, theorem 2.13). A tableau checks these conditions in exact
rational arithmetic when it is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from itertools import combinations_with_replacement
from math import prod
from typing import Annotated, NamedTuple, TypeAlias

from odenet.blocks.annotations import AnyWhole, MayBeEmpty, Whole, WholeFromZero
from odenet.blocks.arguments import check_fields

Weights: TypeAlias = Annotated[Sequence[Fraction | AnyWhole], MayBeEmpty()]

Tree: TypeAlias = tuple["Tree", ...]
"""A rooted tree, as the tuple of the subtrees at its root; `()` is a single node."""


@cache
def rooted_trees(nodes: int) -> tuple[Tree, ...]:
    """Return all different rooted trees with `nodes` nodes; their numbers are 1, 1, 2, 4, 9, 20, ….

    >>> rooted_trees(3)
    (((), ()), (((),),))
    """
    return tuple(sorted(_forests(nodes - 1, nodes - 1)))


def _forests(nodes: int, largest: int) -> Iterator[Tree]:
    """Yield the multisets of rooted trees with `nodes` nodes in total and at most `largest` nodes in each tree."""
    if nodes == 0:
        yield ()
    for size in range(min(nodes, largest), 0, -1):
        for copies in range(1, nodes // size + 1):
            for trees in combinations_with_replacement(rooted_trees(size), copies):
                for others in _forests(nodes - size * copies, size - 1):
                    yield trees + others


def density(tree: Tree) -> int:
    """Return the density γ(τ): the number of nodes times the densities of the subtrees at the root."""
    return _size(tree) * prod(map(density, tree))


def _size(tree: Tree) -> int:
    return 1 + sum(map(_size, tree))


class Stage(NamedTuple):
    """One stage k = f(t₀ + c·h, x + h·Σ_j weights_j·k_j) of a method, with coefficients in floating point."""

    c: float
    weights: tuple[float, ...]


@dataclass(frozen=True)
class ButcherTableau:
    """The coefficients A, b and c = A·1 of an explicit method of order p.

    An embedded pair also has error weights e; the weights b - e define another method, of order `embedded_order`.

    Args:
        order: claimed order p, at least 1.
        a: strictly lower triangular matrix A row by row, the first row empty.
        b: weights of the stages.
        error: error weights e, one for each stage; empty for a method without an embedded one.
        embedded_order: claimed order of the method with weights b - e.
        middle: weights m for which x + h·Σ m_i·k_i equals x(t₀ + h/2) to order 4; empty if there are none.
        rounding: tolerance of the order conditions for coefficients published as decimals; 0 for exact coefficients.

    Raises:
        ValueError: if the rows of A do not fit an explicit method, or an order condition (named in the message) fails.
    """

    order: Whole
    a: Annotated[Sequence[Weights], MayBeEmpty()]
    b: Sequence[Fraction | AnyWhole]
    error: Weights = ()
    embedded_order: WholeFromZero = 0
    middle: Weights = ()
    rounding: Fraction = Fraction(0)
    c: tuple[Fraction, ...] = field(init=False)
    stages: tuple[Stage, ...] = field(init=False)
    """Stages of the method, in floating point."""
    weights: tuple[float, ...] = field(init=False)
    """Weights b, in floating point."""
    error_weights: tuple[float, ...] = field(init=False)
    middle_weights: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        check_fields(self)
        self._check_shapes()
        if self.order < 1:
            raise ValueError(f"order = {self.order!r}; a convergent method has order 1 or more: claim 1 or more.")
        self._check_order("b", self.b, self.order, Fraction(1))
        if self.error:
            embedded = [b - e for b, e in zip(self.b, self.error, strict=True)]
            self._check_order("(b - e)", embedded, self.embedded_order, Fraction(1))
        if self.middle:
            self._check_order("m", self.middle, 4, Fraction(1, 2))
        c = tuple(self._rounded(sum(map(Fraction, row), Fraction(0))) for row in self.a)
        stages = tuple(Stage(float(c_i), tuple(map(float, row))) for c_i, row in zip(c, self.a, strict=True))
        derived = {"c": c, "stages": stages, "weights": tuple(map(float, self.b))}
        derived |= {"error_weights": tuple(map(float, self.error)), "middle_weights": tuple(map(float, self.middle))}
        for name, values in derived.items():
            object.__setattr__(self, name, values)

    @property
    def is_first_same_as_last(self) -> bool:
        """Whether the last stage is f(t₀ + h, x₁), which is the first stage of the next step."""
        return self.b[-1] == 0 and list(self.a[-1]) == list(self.b[:-1])

    def _check_shapes(self) -> None:
        number, lengths = len(self.b), [len(row) for row in self.a]
        if lengths != list(range(number)):
            raise ValueError(
                f"the rows of A have lengths {lengths} for {number} stages; in an explicit method row i has length i: "
                "pass the strictly lower triangle, with an empty first row."
            )
        for name, weights in (("error", self.error), ("middle", self.middle)):
            if len(weights) not in (0, number):
                raise ValueError(
                    f"{name} has {len(weights)} weights for {number} stages; every stage has one: pass {number}, or "
                    "none."
                )

    def _rounded(self, c: Fraction) -> Fraction:
        """Return c, or exactly 1 if c is 1 up to `rounding`, because the last stage must lie exactly at the end."""
        return Fraction(1) if abs(c - 1) <= self.rounding else c

    def _check_order(self, name: str, weights: Sequence[Fraction | int], order: int, at: Fraction) -> None:
        """Check Σ w·Φ(τ) = at^|τ|/γ(τ) for all trees of at most `order` nodes: the order of accuracy at t₀ + at·h."""
        for nodes in range(1, order + 1):
            for tree in rooted_trees(nodes):
                found = sum((w * phi for w, phi in zip(weights, self._elementary(tree), strict=True)), Fraction(0))
                required = at**nodes / density(tree)
                if abs(found - required) > self.rounding:
                    raise ValueError(
                        f"a tableau of order {order} has Σ {'·'.join([name, *_factors(tree)])} = {required}; these "
                        f"coefficients give {found}: correct them, or claim a lower order."
                    )

    def _elementary(self, tree: Tree) -> list[Fraction]:
        """Return Φ_i(τ), the product over the subtrees σ at the root of Σ_j a_ij·Φ_j(σ), for every stage i."""
        branches = [self._elementary(branch) for branch in tree]
        return [
            prod(
                (sum((Fraction(x) * y for x, y in zip(row, phi, strict=False)), Fraction(0)) for phi in branches),
                start=Fraction(1),
            )
            for row in self.a
        ]


def _factors(tree: Tree) -> list[str]:
    """Return the factors of Φ(τ) in writing: [] for a single node, ["c", "A·c"] for the tree of c·A·c."""
    leaves, others = tree.count(()), [_factors(branch) for branch in tree if branch]
    products = ["A·" + ("·".join(parts) if len(parts) == 1 else f"({'·'.join(parts)})") for parts in others]
    powers = [] if not leaves else ["c" if leaves == 1 else "c" + str(leaves).translate(_SUPERSCRIPTS)]
    return powers + ([f"({product})" for product in products] if len(products) > 1 else products)


_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
