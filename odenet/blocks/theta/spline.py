"""θ(t) as a B-spline over depth, and its exact refinement by knot insertion.

Both are computed from the blossom of the polynomial pieces of a spline (Ramshaw 1989): for a knot span and p arguments
u_1, …, u_p it gives the weights of the p + 1 coefficients of the span. If all arguments are t, these weights are the
values of the B-splines at t (de Boor's recursion). If the arguments are p consecutive knots of a finer grid, the
weights give the coefficient of the refined spline there (the Oslo algorithm of Cohen, Lyche and Riesenfeld 1980).
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

    The knots at both ends are repeated p times more, so that θ(0) = θ_0 and θ(T) = θ_{n-1}; in between θ passes near
    its nodes and not through them. θ has p - 1 continuous derivatives. Degree 0 is `PiecewiseConstant`, degree 1 is
    `PiecewiseLinear`, and n = p + 1 is a polynomial in Bernstein form. The B_j are positive and sum to 1, so θ(t) is a
    weighted mean of the nodes, and a combined variance stays positive.

    Each evaluation of the branch combines p + 1 nodes first; for a branch of many parameters on few pixels this costs
    more than the evaluation. In training mode BatchNorm is refused unless p = 0, as in every `LinearTheta` that
    combines nodes.

    >>> from odenet import MLPBranch, Spline
    >>> theta = Spline([MLPBranch(2) for _ in range(6)], degree=3)
    >>> [(piece.start, piece.end, len(piece.nodes)) for piece in theta.pieces()]
    [(0.0, 1.0, 4), (1.0, 2.0, 4), (2.0, 3.0, 4)]

    Args:
        nodes: coefficients of the spline, at least p + 1 branches of the same architecture.
        degree: degree p of the polynomial pieces, at least 0.
        horizon: T in units of depth-time; by default the number of pieces.

    Raises:
        ValueError: if the degree is negative, there are fewer than p + 1 nodes, or their parameters differ in name,
            shape or dtype.

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
        self.min_nodes = degree + 1
        super().__init__(nodes, horizon)
        require_same_tensors(self)

    @property
    def number_of_pieces(self) -> int:
        """Number of pieces, p less than the number of nodes."""
        return len(self.nodes) - self.degree

    def nodes_of_piece(self, index: int) -> range:
        """Return the indices of the p + 1 nodes whose B-splines do not vanish on the piece."""
        return range(index, index + self.degree + 1)

    def weights(self, index: int, start: float, end: float, t: Time) -> Sequence[Time]:  # noqa: ARG002
        """Return B_j(t) for the p + 1 nodes of the piece."""
        return blossom_weights(index, self._knot, [t] * self.degree)

    def _knot(self, index: int) -> float:
        # The same formula as in `intervals`, so that the ends of a piece are exactly the knots.
        n = self.number_of_pieces
        return self.horizon if index >= n else self.horizon * max(index, 0) / n

    def extra_repr(self) -> str:
        """Return the degree and the horizon as text, for `print(theta)`."""
        return f"degree={self.degree}, {super().extra_repr()}"


def blossom_weights(span: int, knot: Callable[[int], Value], arguments: Sequence[Value]) -> list[Value]:
    """Return the weights of the p + 1 coefficients of a knot span in the blossom at p arguments.

    Args:
        span: index of the interval between two different knots, from 0.
        knot: function from the index of a knot to its value; indices outside 0, …, n repeat the first and last knots.
        arguments: arguments u_1, …, u_p of the blossom; all equal to t for the value of the spline at t.
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
    """Return, for each coefficient of a spline on `factor` times the pieces, its nonzero weights over the coarse ones.

    The finer space contains the coarser one, so the refined spline is the same function, and the weights are exact.

    >>> knot_insertion(1, 1, 2)
    [{0: Fraction(1, 1)}, {0: Fraction(1, 2), 1: Fraction(1, 2)}, {1: Fraction(1, 1)}]
    """

    def fine_knot(index: int) -> Fraction:
        return Fraction(min(max(index, 0), factor * pieces))

    def coarse_knot(index: int) -> Fraction:
        return Fraction(factor * min(max(index, 0), pieces))

    rows = []
    for j in range(factor * pieces + degree):
        span = min(j, factor * pieces - 1) // factor  # the last span in the support of the fine B-spline j
        arguments = [fine_knot(j - degree + k) for k in range(1, degree + 1)]
        weights = blossom_weights(span, coarse_knot, arguments)
        rows.append({span + k: Fraction(weight) for k, weight in enumerate(weights) if weight})
    return rows


def integrals(degree: int, pieces: int) -> list[Fraction]:
    """Return ∫B_j dt over [0, pieces] for each B-spline: the length of its support over p + 1.

    >>> integrals(1, 2)
    [Fraction(1, 2), Fraction(1, 1), Fraction(1, 2)]
    """
    return [Fraction(min(j + 1, pieces) - max(j - degree, 0), degree + 1) for j in range(pieces + degree)]
