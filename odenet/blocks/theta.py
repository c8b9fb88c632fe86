"""θ(t): the parameters of a vector field as a function of depth-time, held as ordinary modules.

A flow solves x′(t) = F(x(t), t; θ(t)) on [0, T]. The three kinds here differ in how θ moves between its nodes: not at
all (`Constant`), by jumps (`PiecewiseConstant`: a ResNet stage) or linearly (`PiecewiseLinear`). Each yields the closed
intervals on which θ is smooth, in order. A solver is handed one of them at a time, so a layer is never looked up from a
time: `int(t * n)` picks a wrong layer for many n in floating point, and a solver that steps over a jump of θ loses its
order.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

Time: TypeAlias = float | Tensor
"""Depth-time t: a Python float under fixed steps, a scalar tensor under torchdiffeq."""


FieldOfPiece: TypeAlias = tuple[Callable[[Time, Tensor], Tensor], tuple[nn.Module, ...]]


class Piece(NamedTuple):
    """A closed interval [start, end] of depth-time on which θ is smooth, with the vector field there.

    `field(t, x)` gives x′; `nodes` are the modules that it evaluates, none where x′ = 0 without any evaluation.
    """

    start: float
    end: float
    field: Callable[[Time, Tensor], Tensor]
    nodes: tuple[nn.Module, ...]


class Theta(nn.Module, ABC):
    """θ: [0, T] → parameters of a branch, with nodes θ_0, …, θ_{n-1} held as modules (`nodes.0`, `nodes.1`, …).

    Args:
        nodes: branches, modules whose `forward(t, x)` keeps the shape of the state `x`.
        horizon: T > 0 in units of depth-time; by default the number of pieces, so that one step a piece has h = 1.

    Raises:
        TypeError: a node is not a module.
        ValueError: too few nodes, or a horizon that is not a positive real number.
    """

    fewest_nodes = 1

    def __init__(self, nodes: Iterable[nn.Module], horizon: float | None = None) -> None:
        super().__init__()
        branches = list(nodes)
        for index, branch in enumerate(branches):
            if not isinstance(branch, nn.Module):
                raise TypeError(
                    f"node {index} of {type(self).__name__} is a {type(branch).__name__}; θ is held as modules: "
                    "pass torch.nn.Module objects with forward(t, x)."
                )
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
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
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

    def pieces(self) -> Iterator[Piece]:
        """The intervals [T·i/n, T·(i+1)/n] on which θ is smooth, in order; together they are [0, T] exactly."""
        n, T = self.number_of_pieces, self._horizon
        for i in range(n):
            start, end = T * i / n, T if i == n - 1 else T * (i + 1) / n  # T·n/n is not T for every T
            yield Piece(start, end, *self.field_of_piece(i, start, end))

    def extra_repr(self) -> str:
        """The horizon, for `print(theta)`."""
        return f"horizon={self.horizon:g}"


class Constant(Theta):
    """θ(t) = θ_0: one branch for all depth-times, the weight-shared flow of an ODE-Net (Chen et al. 2018, section 3).

    >>> from odenet import ODEBlock, Constant, MLPBranch
    >>> ODEBlock(Constant(MLPBranch(2), horizon=0.5)).theta.horizon
    0.5

    Args:
        branch: the module F, with `forward(t, x)`; it may depend on t itself.
        horizon: T, 1 by default.
    """

    def __init__(self, branch: nn.Module, horizon: float | None = None) -> None:
        super().__init__([branch], horizon)

    @property
    def number_of_pieces(self) -> int:
        """1."""
        return 1

    def field_of_piece(self, index: int, start: float, end: float) -> FieldOfPiece:  # noqa: ARG002
        """The one branch."""
        node = self.nodes[0]
        return node, (node,)


class PiecewiseConstant(Theta):
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

    def field_of_piece(self, index: int, start: float, end: float) -> FieldOfPiece:  # noqa: ARG002
        """Branch `index`."""
        node = self.nodes[index]
        return node, (node,)


class PiecewiseLinear(Theta):
    """θ(t) linear between n nodes at t = 0, T/(n-1), …, T: every parameter is a continuous polygon over depth.

    Floating-point buffers (the running statistics of a normalization) are interpolated as parameters are. In training
    mode BatchNorm is refused: a batch seen between two nodes belongs to the statistics of neither.

    Raises:
        ValueError: fewer than two nodes, or nodes whose parameters differ in name, shape or dtype.
    """

    fewest_nodes = 2

    def __init__(self, nodes: Iterable[nn.Module], horizon: float | None = None) -> None:
        super().__init__(nodes, horizon)
        for index, node in enumerate(self.nodes):
            _require_same_tensors(self.nodes[0], node, index)

    @property
    def number_of_pieces(self) -> int:
        """One fewer than nodes."""
        return len(self.nodes) - 1

    def field_of_piece(self, index: int, start: float, end: float) -> FieldOfPiece:
        """The branch with parameters between those of nodes `index` and `index + 1`."""
        left, right = self.nodes[index], self.nodes[index + 1]
        if self.training:
            _refuse_batch_statistics(left)
        return _Interpolation(left, right, start, end), (left, right)


class _Interpolation:
    """F(t, x; (1-s)·θ_left + s·θ_right) with s = (t - start)/(end - start)."""

    def __init__(self, left: nn.Module, right: nn.Module, start: float, end: float) -> None:
        self.left = left
        self.start, self.end = start, end
        self.tensors = {
            name: (tensor, other)
            for (name, tensor), (_, other) in zip(_tensors(left), _tensors(right), strict=True)
            if tensor.is_floating_point()
        }

    def __call__(self, t: Time, x: Tensor) -> Tensor:
        s = (t - self.start) / (self.end - self.start)
        theta = {name: (1 - s) * left + s * right for name, (left, right) in self.tensors.items()}
        return torch.func.functional_call(self.left, theta, (t, x))


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _require_same_tensors(first: nn.Module, node: nn.Module, index: int) -> None:
    expected = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in _tensors(first)}
    found = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in _tensors(node)}
    differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if differing:
        name = differing[0]
        raise ValueError(
            f"nodes 0 and {index} of PiecewiseLinear differ in {name!r}: {expected.get(name)} and {found.get(name)}; "
            "parameters are interpolated one by one: build every node with the same architecture."
        )


def _refuse_batch_statistics(node: nn.Module) -> None:
    for name, module in node.named_modules():
        if isinstance(module, _NormBase) and module.track_running_stats:
            raise ValueError(
                f"PiecewiseLinear cannot train {type(module).__name__} {name!r}: its running statistics would belong "
                "to no node between two nodes. Use GroupNorm (norm=group_norm), or PiecewiseConstant."
            )
