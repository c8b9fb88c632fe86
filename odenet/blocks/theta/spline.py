"""θ(t) as a B-spline over depth, and the exact arithmetic of refining one.

Everything is computed from one triangle, the blossom of a spline's polynomial pieces (Ramshaw 1989): for a knot span
and p arguments u_1, …, u_p it gives the weights of the span's p + 1 coefficients. With all arguments t these are the
B-splines at t (de Boor's recursion); with p consecutive knots of a finer grid they make the coefficient there (the Oslo
algorithm of Cohen, Lyche and Riesenfeld 1980).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Annotated, TypeVar

from torch import nn

from odenet.blocks.annotations import Inside, MayBeEmpty, WholeFromZero
from odenet.blocks.arguments import checked
from odenet.blocks.theta.base import LinearTheta, Time, require_same_tensors

Value = TypeVar("Value", Fraction, Time)


class Spline(LinearTheta):
    """θ(t) = Σ_j B_j(t)·θ_j with the B-splines B_j of degree p on equal knot spans of [0, T]: n nodes, n - p pieces.

    The knots at both ends are repeated p times more, so that θ(0) = θ_0 and θ(T) = θ_{n-1}; in between the nodes are
    coefficients, near which θ passes. θ has p - 1 continuous derivatives. Degree 0 is `PiecewiseConstant`, degree 1
    `PiecewiseLinear`, and n = p + 1 a polynomial in Bernstein's form. The B_j are positive and sum to 1, so that θ(t)
    lies among its nodes: a variance, combined, stays positive.

    A piece evaluates the branch once with p + 1 nodes combined; for one of many parameters and few pixels that is the
    greater cost. In training mode BatchNorm is refused unless p = 0, as in every `LinearTheta` that combines nodes.

    >>> from odenet import MLPBranch, Spline
    >>> theta = Spline([MLPBranch(2) for _ in range(6)], degree=3)
    >>> [(piece.start, piece.end, len(piece.nodes)) for piece in theta.pieces()]
    [(0.0, 1.0, 4), (1.0, 2.0, 4), (2.0, 3.0, 4)]

    Args:
        nodes: the coefficients, p + 1 or more branches of the same architecture.
        degree: p, 0 or more.
        horizon: T in units of depth-time; by default the number of pieces.

    Raises:
        ValueError: a degree that is no whole number of 0 or more, fewer than p + 1 nodes, or nodes whose parameters
            differ in name, shape or dtype.

    Source: de Boor, *A Practical Guide to Splines* (1978), chapters IX and X.
    """

    @checked
    def __init__(
        self,
        nodes: Annotated[Iterable[Annotated[nn.Module, Inside()]], MayBeEmpty()],
        degree: WholeFromZero = 3,
        horizon: Annotated[float | None, Inside()] = None,
    ) -> None:
        self.degree = degree
        self.fewest_nodes = degree + 1
        super().__init__(nodes, horizon)
        require_same_tensors(self)

    @property
    def number_of_pieces(self) -> int:
        """As many as nodes, less p."""
        return len(self.nodes) - self.degree

    def nodes_of_piece(self, index: int) -> range:
        """The p + 1 nodes whose B-splines do not vanish there."""
        return range(index, index + self.degree + 1)

    def weights(self, index: int, start: float, end: float, t: Time) -> Sequence[Time]:  # noqa: ARG002
        """B_j(t) for the p + 1 nodes of the piece."""
        return blossom_weights(index, self._knot, [t] * self.degree)

    def _knot(self, index: int) -> float:
        # Written as in `pieces`, so that at the ends of a piece the weights are those of the knot exactly.
        n = self.number_of_pieces
        return self.horizon if index >= n else self.horizon * max(index, 0) / n

    def extra_repr(self) -> str:
        """Degree and horizon, for `print(theta)`."""
        return f"degree={self.degree}, {super().extra_repr()}"


def blossom_weights(span: int, knot: Callable[[int], Value], arguments: Sequence[Value]) -> list[Value]:
    """The weights of the p+1 coefficients of span `span` in the blossom at the p `arguments`.

    Args:
        span: 0 for the first interval between different knots.
        knot: the knots by number, 0 for the first; numbers outside 0, …, n repeat the first and the last.
        arguments: u_1, …, u_p; all equal to t for the spline's value at t.
    """
    weights: list = [1]
    for degree, u in enumerate(arguments, 1):
        raised = [0] * (degree + 1)
        for j, weight in enumerate(weights):
            left, right = knot(span - degree + 1 + j), knot(span + 1 + j)
            a = (u - left) / (right - left)
            raised[j] += (1 - a) * weight
            raised[j + 1] += a * weight
        weights = raised
    return weights


def knot_insertion(degree: int, pieces: int, factor: int) -> list[dict[int, Fraction]]:
    """The coefficients of a spline on `factor` times the pieces: for each its weights over the coarse ones, not zero.

    The finer space contains the coarser one, so the function is the same, and the weights are exact.

    >>> knot_insertion(1, 1, 2)
    [{0: Fraction(1, 1)}, {0: Fraction(1, 2), 1: Fraction(1, 2)}, {1: Fraction(1, 1)}]
    """

    def fine_knot(index: int) -> Fraction:
        return Fraction(min(max(index, 0), factor * pieces))

    def coarse_knot(index: int) -> Fraction:
        return Fraction(factor * min(max(index, 0), pieces))

    rows = []
    for j in range(factor * pieces + degree):
        span = min(j, factor * pieces - 1) // factor  # of the spans on which the fine B-spline j lives, the last
        arguments = [fine_knot(j - degree + k) for k in range(1, degree + 1)]
        weights = blossom_weights(span, coarse_knot, arguments)
        rows.append({span + k: Fraction(weight) for k, weight in enumerate(weights) if weight})
    return rows


def integrals(degree: int, pieces: int) -> list[Fraction]:
    """∫B_j dt over [0, pieces] for each B-spline: the distance of the knots between which it lives, over p + 1.

    >>> integrals(1, 2)
    [Fraction(1, 2), Fraction(1, 1), Fraction(1, 2)]
    """
    return [Fraction(min(j + 1, pieces) - max(j - degree, 0), degree + 1) for j in range(pieces + degree)]
