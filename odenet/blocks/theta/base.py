"""θ(t): the parameters of a vector field as a function of depth-time, held as ordinary modules.

A flow solves x′(t) = F(x(t), t; θ(t)) on [0, T]. In the three kinds of this module θ is constant (`Constant`), jumps
between its nodes (`PiecewiseConstant`, a ResNet stage), or is linear between them (`PiecewiseLinear`). All three are
combinations of their nodes, θ(t) = Σ φ_j(t)·θ_j, as are `Spline` and `Galerkin`. Each θ yields, in order, the closed
intervals on which it is smooth, and a solver is handed one of them at a time. So a layer is never looked up from a
time: in floating point `int(t * n)` picks a wrong layer for many n, and a solver that steps over a jump of θ loses its
order.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from odenet.blocks.annotations import Inside, MayBeEmpty
from odenet.blocks.arguments import as_float, checked
from odenet.blocks.properties import ModuleWithProperties
from odenet.blocks.signature import signature_error
from odenet.blocks.theta.combination import Combination, named_tensors

Time: TypeAlias = float | Tensor
"""Depth-time t: a Python float under fixed steps, and under error control a tensor that broadcasts against the state: a
scalar, or of shape (batch, 1, …, 1) if every sample has its own t."""


FieldOfPiece: TypeAlias = tuple[Callable[[Time, Tensor], Tensor], tuple[nn.Module, ...]]
"""The vector field on a piece, and the nodes that it evaluates."""


class Piece(NamedTuple):
    """A closed interval [start, end] of depth-time on which θ is smooth, with the vector field there.

    `field(t, x)` returns x′. `nodes` are the modules that it evaluates; there are none if x′ = 0 without evaluation.
    `takes_one_time` says that t must be the same for all samples although there is only one node.
    """

    start: float
    end: float
    field: Callable[[Time, Tensor], Tensor]
    nodes: tuple[nn.Module, ...]
    takes_one_time: bool = False


def wants_gradient(pieces: Iterable[Piece], x: Tensor) -> bool:
    """Whether autograd records a flow over the pieces from x: it is enabled, and x or a parameter needs a gradient."""
    parameters = (p for piece in pieces for node in piece.nodes for p in node.parameters())
    return torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in parameters))


def match_requires_grad(x: Tensor, pieces: Sequence[Piece]) -> Tensor:
    """Return x, requiring a gradient if later states will, so that one compiled program serves the first step too."""
    return x if x.requires_grad or not wants_gradient(pieces, x) else x.detach().requires_grad_()


class Theta(ModuleWithProperties, ABC):
    """θ: [0, T] → parameters of a branch, with nodes θ_0, …, θ_{n-1} held as modules (`nodes.0`, `nodes.1`, …).

    Args:
        nodes: branches, modules whose `forward(t, x)` keeps the shape of the state `x`.
        horizon: T > 0 in units of depth-time; by default the number of pieces, so that one step per piece has h = 1.

    Raises:
        TypeError: if a node is not a module, or its forward does not take (t, x).
        ValueError: if there are too few nodes, or the horizon is not a positive real number.
    """

    min_nodes = 1
    """Smallest number of nodes that this kind of θ needs."""

    @checked
    def __init__(
        self,
        nodes: Annotated[Iterable[Annotated[nn.Module, Inside()]], MayBeEmpty()],
        horizon: Annotated[float | None, Inside()] = None,
    ) -> None:
        super().__init__()
        branches = list(nodes)
        for index, branch in enumerate(branches):
            if not isinstance(branch, nn.Module):
                raise TypeError(
                    f"node {index} of {type(self).__name__} is a {type(branch).__name__}; the nodes of θ are modules: "
                    "pass torch.nn.Module objects with forward(t, x)."
                )
            if (refusal := signature_error(branch)) is not None:
                raise refusal
        if len(branches) < self.min_nodes:
            raise ValueError(
                f"{type(self).__name__} was given {len(branches)} nodes; a flow on [0, T] needs at least "
                f"{self.min_nodes}: add branches, or leave the flow out of the network."
            )
        self.nodes = nn.ModuleList(branches)
        self.horizon = float(self.number_of_pieces) if horizon is None else horizon

    @property
    def horizon(self) -> float:
        """Length T of the interval of depth-time; it can be assigned."""
        return self._horizon

    @horizon.setter
    def horizon(self, value: float) -> None:
        if not 0 < (as_float(value) or 0) < math.inf:
            raise ValueError(
                f"horizon = {value!r}; the flow runs over [0, T] with a finite T > 0: pass a positive real number."
            )
        self._horizon = float(value)

    @property
    @abstractmethod
    def number_of_pieces(self) -> int:
        """Number of intervals that `pieces` yields."""

    @abstractmethod
    def field_of_piece(self, index: int, start: float, end: float) -> FieldOfPiece:
        """Return the vector field on piece `index` = [start, end], and the nodes that it evaluates."""

    def interval(self, index: int) -> tuple[float, float]:
        """Return the ends of piece i = `index` of n, [T·i/n, T·(i+1)/n]; together the pieces are [0, T] exactly."""
        n, T = self.number_of_pieces, self._horizon
        return T * index / n, T if index == n - 1 else T * (index + 1) / n  # T·n/n ≠ T for some T in floating point

    def pieces(self) -> Iterator[Piece]:
        """Yield the intervals on which θ is smooth, in order, with the vector fields there."""
        for index, (start, end) in enumerate(self.intervals()):
            yield Piece(start, end, *self.field_of_piece(index, start, end))

    def intervals(self) -> Iterator[tuple[float, float]]:
        """Yield the start and end of each piece."""
        n, T = self.number_of_pieces, self._horizon
        return pairwise([*(T * index / n for index in range(n)), T])

    def extra_repr(self) -> str:
        """Return the horizon as text, for `print(theta)`."""
        return f"horizon={self.horizon:g}"


class LinearTheta(Theta):
    """θ(t) = Σ_j φ_j(t)·θ_j, a combination of the nodes; a subclass defines the basis φ piece by piece.

    On a piece with one node φ = 1, and the node itself is evaluated at no extra cost. On other pieces all
    floating-point and complex tensors of the nodes, parameters and buffers alike, are combined, and the branch is
    evaluated with the result; integer buffers are those of the first node of the piece. In training mode BatchNorm
    normalizes by the batch, and its running statistics at t, which the nodes combine to, move as those of an ordinary
    BatchNorm do: each node moves by its weight φ_j(t).
    """

    is_convex = True
    """Whether the φ_j are nonnegative with sum 1, so that a combination of variances is a variance."""

    @abstractmethod
    def nodes_of_piece(self, index: int) -> range:
        """Return the j for which φ_j ≠ 0 on piece `index`."""

    @abstractmethod
    def weights(self, index: int, start: float, end: float, t: Time) -> Sequence[Time]:
        """Return φ_j(t) for the nodes of piece `index` = [start, end], in order."""

    def field_of_piece(self, index: int, start: float, end: float) -> FieldOfPiece:
        """Return the branch with the parameters θ(t), and the nodes that it combines."""
        nodes = tuple(self.nodes[j] for j in self.nodes_of_piece(index))
        if len(nodes) == 1:
            return nodes[0], nodes
        return Combination(nodes, partial(self.weights, index, start, end), convex=self.is_convex), nodes


class Constant(LinearTheta):
    """θ(t) = θ_0: one branch for all depth-times, the weight-shared flow of an ODE-Net (Chen et al. 2018, section 3).

    >>> from odenet import ODEBlock, Constant, MLPBranch
    >>> ODEBlock(Constant(MLPBranch(2), horizon=0.5)).theta.horizon
    0.5

    Args:
        branch: module F with `forward(t, x)`; it may depend on t itself.
        horizon: T in units of depth-time, 1 by default.
    """

    @checked
    def __init__(
        self, branch: Annotated[nn.Module, Inside()], horizon: Annotated[float | None, Inside()] = None
    ) -> None:
        super().__init__([branch], horizon)

    @property
    def number_of_pieces(self) -> int:
        """Number of pieces, always 1."""
        return 1

    def nodes_of_piece(self, index: int) -> range:  # noqa: ARG002
        """Return the index of the only node."""
        return range(1)

    def weights(self, index: int, start: float, end: float, t: Time) -> Sequence[Time]:  # noqa: ARG002
        """Return the weight 1 of the only node."""
        return (1.0,)


class PiecewiseConstant(LinearTheta):
    """θ(t) = θ_i for t in [T·i/n, T·(i+1)/n]: a residual stage of n blocks when stepped by Euler with h = 1.

    >>> from odenet import BasicBranch, PiecewiseConstant
    >>> theta = PiecewiseConstant([BasicBranch(16) for _ in range(3)])
    >>> [(piece.start, piece.end) for piece in theta.pieces()]
    [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]
    """

    @property
    def number_of_pieces(self) -> int:
        """Number of pieces, which is the number of nodes."""
        return len(self.nodes)

    def nodes_of_piece(self, index: int) -> range:
        """Return the index of the only node of the piece, which is `index`."""
        return range(index, index + 1)

    def pieces(self) -> Iterator[Piece]:
        """Yield one piece per node, without the cost of `field_of_piece` in the loop over a residual stage."""
        for (start, end), node in zip(self.intervals(), self.nodes, strict=True):
            yield Piece(start, end, node, (node,))

    def weights(self, index: int, start: float, end: float, t: Time) -> Sequence[Time]:  # noqa: ARG002
        """Return the weight 1 of the only node."""
        return (1.0,)


class PiecewiseLinear(LinearTheta):
    """θ(t) is linear between n nodes at t = 0, T/(n-1), …, T: every parameter is a continuous polygon over depth.

    Raises:
        ValueError: if there are fewer than two nodes, or their parameters differ in name, shape or dtype.
    """

    min_nodes = 2

    @checked
    def __init__(
        self,
        nodes: Annotated[Iterable[Annotated[nn.Module, Inside()]], MayBeEmpty()],
        horizon: Annotated[float | None, Inside()] = None,
    ) -> None:
        super().__init__(nodes, horizon)
        require_same_tensors(self)

    @property
    def number_of_pieces(self) -> int:
        """Number of pieces, one less than the number of nodes."""
        return len(self.nodes) - 1

    def nodes_of_piece(self, index: int) -> range:
        """Return the indices of the nodes at both ends of the piece."""
        return range(index, index + 2)

    def weights(self, index: int, start: float, end: float, t: Time) -> Sequence[Time]:  # noqa: ARG002
        """Return 1 - s and s, with s = (t - start)/(end - start)."""
        s = (t - start) / (end - start)
        return (1 - s, s)


def require_same_tensors(theta: Theta) -> None:
    """Raise a `ValueError` if nodes of `theta` differ in the name, shape or dtype of a tensor."""
    expected, *others = (
        {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in named_tensors(node)} for node in theta.nodes
    )
    for index, found in enumerate(others, 1):
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                raise ValueError(
                    f"nodes 0 and {index} of {type(theta).__name__} differ in {name!r}: {expected.get(name)} and "
                    f"{found.get(name)}; parameters are combined one by one: build every node with the same "
                    "architecture."
                )
