"""θ(t): the parameters of a vector field as a function of depth-time, held as ordinary modules.

A flow solves x′(t) = F(x(t), t; θ(t)) on [0, T]. The three kinds here differ in how θ moves between its nodes: not at
all (`Constant`), by jumps (`PiecewiseConstant`: a ResNet stage) or linearly (`PiecewiseLinear`). They are combinations
of their nodes, θ(t) = Σ φ_j(t)·θ_j, and so are `Spline` and `Galerkin`. Each yields the closed intervals on which θ is
smooth, in order. A solver is handed one of them at a time, so a layer is never looked up from a
time: `int(t * n)` picks a wrong layer for many n in floating point, and a solver that steps over a jump of θ loses its
order.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from numbers import Real
from typing import Annotated, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from odenet.blocks.annotations import Inside, MayBeEmpty
from odenet.blocks.arguments import checked
from odenet.blocks.properties import ModuleWithProperties
from odenet.blocks.signature import signature_error
from odenet.blocks.theta.combination import Combination, named_tensors

Time: TypeAlias = float | Tensor
"""Depth-time t: a Python float under fixed steps, a tensor under error control, which broadcasts against the state: a
scalar, or (batch, 1, …, 1) where every sample has a t of its own."""


FieldOfPiece: TypeAlias = tuple[Callable[[Time, Tensor], Tensor], tuple[nn.Module, ...]]


class Piece(NamedTuple):
    """A closed interval [start, end] of depth-time on which θ is smooth, with the vector field there.

    `field(t, x)` gives x′; `nodes` are the modules that it evaluates, none where x′ = 0 without any evaluation.
    """

    start: float
    end: float
    field: Callable[[Time, Tensor], Tensor]
    nodes: tuple[nn.Module, ...]


def wants_gradient(pieces: Iterable[Piece], x: Tensor) -> bool:
    """Whether a backward pass through a flow over the pieces, from x, may follow."""
    parameters = (p for piece in pieces for node in piece.nodes for p in node.parameters())
    return torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in parameters))


def match_requires_grad(x: Tensor, pieces: Sequence[Piece]) -> Tensor:
    """x, on autograd's tape if the states after it will be: the first of many like programs is then one of them."""
    return x if x.requires_grad or not wants_gradient(pieces, x) else x.detach().requires_grad_()


class Theta(ModuleWithProperties, ABC):
    """θ: [0, T] → parameters of a branch, with nodes θ_0, …, θ_{n-1} held as modules (`nodes.0`, `nodes.1`, …).

    Args:
        nodes: branches, modules whose `forward(t, x)` keeps the shape of the state `x`.
        horizon: T > 0 in units of depth-time; by default the number of pieces, so that one step a piece has h = 1.

    Raises:
        TypeError: a node is not a module, or its forward does not take (t, x).
        ValueError: too few nodes, or a horizon that is not a positive real number.
    """

    fewest_nodes = 1

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
                    f"node {index} of {type(self).__name__} is a {type(branch).__name__}; θ is held as modules: "
                    "pass torch.nn.Module objects with forward(t, x)."
                )
            if (refusal := signature_error(branch)) is not None:
                raise refusal
        if len(branches) < self.fewest_nodes:
            raise ValueError(
                f"{type(self).__name__} was given {len(branches)} nodes; a flow on [0, T] needs at least "
                f"{self.fewest_nodes}: add branches, or leave the flow out of the network."
            )
        self.nodes = nn.ModuleList(branches)
        self.horizon = float(self.number_of_pieces) if horizon is None else horizon

    @property
    def horizon(self) -> float:
        """T, the length of the interval of depth-time; assignable."""
        return self._horizon

    @horizon.setter
    def horizon(self, value: float) -> None:
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < math.inf:
            raise ValueError(
                f"horizon = {value!r}; the flow runs over [0, T] with a finite T > 0: pass a positive real number."
            )
        self._horizon = float(value)

    @property
    @abstractmethod
    def number_of_pieces(self) -> int:
        """How many intervals `pieces` yields."""

    @abstractmethod
    def field_of_piece(self, index: int, start: float, end: float) -> FieldOfPiece:
        """The vector field on piece `index` = [start, end], and the nodes that it reads."""

    def interval(self, index: int) -> tuple[float, float]:
        """[T·i/n, T·(i+1)/n], the ends of piece i = `index` of n; together the pieces are [0, T] exactly."""
        n, T = self.number_of_pieces, self._horizon
        return T * index / n, T if index == n - 1 else T * (index + 1) / n  # T·n/n is not T for every T

    def pieces(self) -> Iterator[Piece]:
        """The intervals on which θ is smooth, in order, with the fields there."""
        for index, (start, end) in enumerate(self.intervals()):
            yield Piece(start, end, *self.field_of_piece(index, start, end))

    def intervals(self) -> Iterator[tuple[float, float]]:
        """Start and end of each piece."""
        n, T = self.number_of_pieces, self._horizon
        return pairwise([*(T * index / n for index in range(n)), T])

    def extra_repr(self) -> str:
        """The horizon, for `print(theta)`."""
        return f"horizon={self.horizon:g}"


class LinearTheta(Theta):
    """θ(t) = Σ_j φ_j(t)·θ_j: a kind is its basis φ, given piece by piece; parameters are those of the nodes combined.

    Where a piece has one node, φ = 1 there, and the node itself is evaluated: θ costs nothing. Elsewhere every tensor
    of real or complex numbers is combined, buffers (the running statistics of a normalization) as parameters are, and
    the branch is evaluated with the result; buffers of integers are those of the piece's first node. In training mode
    BatchNorm is refused there: a batch seen between two nodes belongs to the statistics of neither.
    """

    @abstractmethod
    def nodes_of_piece(self, index: int) -> range:
        """The j with φ_j ≠ 0 on piece `index`."""

    @abstractmethod
    def weights(self, index: int, start: float, end: float, t: Time) -> Sequence[Time]:
        """φ_j(t) for the nodes of piece `index` = [start, end], in order."""

    def field_of_piece(self, index: int, start: float, end: float) -> FieldOfPiece:
        """The branch with the parameters θ(t)."""
        nodes = tuple(self.nodes[j] for j in self.nodes_of_piece(index))
        if len(nodes) == 1:
            return nodes[0], nodes
        if self.training:
            _refuse_batch_statistics(nodes[0], type(self).__name__)
        return Combination(nodes, partial(self.weights, index, start, end)), nodes


class Constant(LinearTheta):
    """θ(t) = θ_0: one branch for all depth-times, the weight-shared flow of an ODE-Net (Chen et al. 2018, section 3).

    >>> from odenet import ODEBlock, Constant, MLPBranch
    >>> ODEBlock(Constant(MLPBranch(2), horizon=0.5)).theta.horizon
    0.5

    Args:
        branch: the module F, with `forward(t, x)`; it may depend on t itself.
        horizon: T, 1 by default.
    """

    @checked
    def __init__(
        self, branch: Annotated[nn.Module, Inside()], horizon: Annotated[float | None, Inside()] = None
    ) -> None:
        super().__init__([branch], horizon)

    @property
    def number_of_pieces(self) -> int:
        """1."""
        return 1

    def nodes_of_piece(self, index: int) -> range:  # noqa: ARG002
        """The one node."""
        return range(1)

    def weights(self, index: int, start: float, end: float, t: Time) -> Sequence[Time]:  # noqa: ARG002
        """1."""
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
        """As many as nodes."""
        return len(self.nodes)

    def nodes_of_piece(self, index: int) -> range:
        """Node `index`."""
        return range(index, index + 1)

    def pieces(self) -> Iterator[Piece]:
        """Node after node; the loop over a residual stage spends no time on more."""
        for (start, end), node in zip(self.intervals(), self.nodes, strict=True):
            yield Piece(start, end, node, (node,))

    def weights(self, index: int, start: float, end: float, t: Time) -> Sequence[Time]:  # noqa: ARG002
        """1."""
        return (1.0,)


class PiecewiseLinear(LinearTheta):
    """θ(t) linear between n nodes at t = 0, T/(n-1), …, T: every parameter is a continuous polygon over depth.

    In training mode BatchNorm is refused, as in every `LinearTheta` that combines nodes.

    Raises:
        ValueError: fewer than two nodes, or nodes whose parameters differ in name, shape or dtype.
    """

    fewest_nodes = 2

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
        """One fewer than nodes."""
        return len(self.nodes) - 1

    def nodes_of_piece(self, index: int) -> range:
        """The nodes at both ends."""
        return range(index, index + 2)

    def weights(self, index: int, start: float, end: float, t: Time) -> Sequence[Time]:  # noqa: ARG002
        """1 - s and s, with s = (t - start)/(end - start)."""
        s = (t - start) / (end - start)
        return (1 - s, s)


def require_same_tensors(theta: Theta) -> None:
    """Raise a `ValueError` where nodes of `theta` differ in the name, shape or dtype of a tensor."""
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


def _refuse_batch_statistics(node: nn.Module, kind: str) -> None:
    for name, module in node.named_modules():
        if isinstance(module, _NormBase) and module.track_running_stats:
            raise ValueError(
                f"{kind} cannot train {type(module).__name__} {name!r}: its running statistics would belong to no node "
                "between two nodes. Use GroupNorm (norm=group_norm), or PiecewiseConstant."
            )
