"""Projection: a trained θ(t) carried to another kind, or to fewer nodes, by least squares over depth."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import torch
from torch import Tensor, nn

from odenet.blocks.annotations import Inside
from odenet.blocks.arguments import checked
from odenet.blocks.theta.base import Constant, LinearTheta, Theta, require_same_tensors
from odenet.blocks.theta.combination import is_differentiable, named_tensors

Kind = TypeVar("Kind", bound=LinearTheta)

_POINTS = 16
"""Gauss points on each interval, besides two for each node: exact for polynomials of degree 31 and more."""


@checked
def project_theta(theta: Annotated[Theta, Inside()], kind: Callable[..., Kind], nodes: int) -> Kind:
    """The θ̂ of `nodes` nodes that minimizes ∫₀ᵀ ‖θ(t) - θ̂(t)‖² dt, parameter by parameter.

    Where the other kind contains θ, it is θ, to rounding: as a polygon is a spline of degree 1, and a constant one is
    of any kind. Otherwise it is the nearest one in L², for example half as many pieces with the mean parameters of each
    pair. Buffers of real or complex numbers are projected as parameters are; those of whole numbers, and modes, are
    taken over from nodes at the same depth. A projected variance is positive if the kind is `PiecewiseConstant`; of
    others, which can overshoot where θ jumps, look at the output before you trust it.

    Compression of a trained block to a third of its parameters, and depth as a polynomial:

    >>> from functools import partial
    >>> from odenet import BasicBranch, ODEBlock, PiecewiseConstant, Spline, project_theta
    >>> block = ODEBlock(PiecewiseConstant([BasicBranch(4) for _ in range(12)])).eval()
    >>> block.theta = project_theta(block.theta, PiecewiseConstant, 4)
    >>> block.theta = project_theta(block.theta, partial(Spline, degree=3), 4)
    >>> block.theta
    Spline(
      degree=3, horizon=12
      ...

    Args:
        theta: `Constant`, `PiecewiseConstant`, `PiecewiseLinear`, `Spline`, `Galerkin`; it is left as it is.
        kind: the class of θ̂, or a function of (nodes, horizon=T) such as `partial(Spline, degree=2)`.
        nodes: how many θ̂ has.

    Returns:
        θ̂, with the horizon of `theta`. It may have another number of pieces: steps are counted per piece.

    Raises:
        TypeError: a θ or a kind that is no combination of nodes.
        ValueError: more nodes than `theta` has, where it is not contained: n values a parameter do not determine more,
            and what is added is not θ but ringing between its nodes. Or nodes of different architectures.
    """
    if not isinstance(theta, LinearTheta):
        raise TypeError(
            f"project_theta was given a {type(theta).__name__}; it fits combinations of nodes: pass Constant, "
            "PiecewiseConstant, PiecewiseLinear, Spline or Galerkin."
        )
    require_same_tensors(theta)
    old = len(theta.nodes)
    copies = [copy.deepcopy(theta.nodes[j * old // nodes]) for j in range(nodes)]
    new = _built(kind, copies, theta.horizon)
    matrix, contained = _least_squares(theta, new)
    if nodes > old and not contained:
        raise ValueError(
            f"{nodes} nodes of {type(new).__name__} were asked for out of {old} of {type(theta).__name__}, which it "
            f"does not contain: {old} values of a parameter do not determine {nodes}. Project onto {old} nodes or "
            "fewer, then refine_theta."
        )
    for node, weights in zip(new.nodes, matrix.tolist(), strict=True):
        combine(node, theta.nodes, dict(enumerate(weights)))
    new.training = new.nodes.training = theta.training
    return new


@torch.no_grad()
def combine(node: nn.Module, nodes: Sequence[nn.Module] | nn.ModuleList, weights: Mapping[int, Any]) -> None:
    """Set every real or complex tensor of `node` to Σ_j w_j·(that of `nodes[j]`), computed in double precision.

    Exactly that of `nodes[j]` where w_j = 1 is the only weight that is not zero.
    """
    sources = {j: dict(named_tensors(nodes[j])) for j, weight in weights.items() if weight}
    for name, tensor in named_tensors(node):
        if is_differentiable(tensor):
            double = torch.promote_types(tensor.dtype, torch.float64)
            terms = (float(weights[j]) * source[name].to(double) for j, source in sources.items())
            tensor.copy_(sum(terms, torch.zeros_like(tensor, dtype=double)))


def _built(kind: Callable[..., Kind], nodes: list[nn.Module], horizon: float) -> Kind:
    if kind is Constant and len(nodes) > 1:
        raise ValueError(f"{len(nodes)} nodes of Constant were asked for, which has one: pass nodes=1.")
    new = kind(nodes[0] if kind is Constant else nodes, horizon=horizon)
    if not isinstance(new, LinearTheta):
        raise TypeError(
            f"kind = {kind!r} makes a {type(new).__name__}; θ is fitted by a combination of nodes: pass Constant, "
            "PiecewiseConstant, PiecewiseLinear, Spline, Galerkin, or a function that makes one of these."
        )
    return new


def _least_squares(theta: LinearTheta, new: LinearTheta) -> tuple[Tensor, bool]:
    """The nodes of θ̂ as combinations of those of θ, a matrix (new nodes, old nodes); and whether θ̂ = θ."""
    points, measures = _quadrature(theta, new)
    ours, theirs = (measures.sqrt()[:, None] * _values(kind, points) for kind in (new, theta))
    matrix = torch.linalg.lstsq(ours, theirs, driver="gelsd").solution
    whole = matrix.round()
    matrix = torch.where((matrix - whole).abs() < 1e-12, whole, matrix)  # what is a copy is one to the last bit
    return matrix, bool((ours @ matrix - theirs).norm() < 1e-9 * theirs.norm())


def _quadrature(*thetas: LinearTheta) -> tuple[Tensor, Tensor]:
    """Gauss points within the intervals on which all `thetas` are smooth, and their weights: ∫f dt ≈ Σ w·f(t)."""
    ends = {end for theta in thetas for index in range(theta.number_of_pieces) for end in theta.interval(index)}
    nodes, weights = _gauss(_POINTS + 2 * max(len(theta.nodes) for theta in thetas))
    grid = torch.tensor(sorted(ends), dtype=torch.float64)
    starts, lengths = grid[:-1, None], grid.diff()[:, None]
    return (starts + lengths * nodes).flatten(), (lengths * weights).flatten()


def _gauss(points: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of Gauss-Legendre quadrature on [0, 1] (Golub and Welsch 1969)."""
    k = torch.arange(1, points, dtype=torch.float64)
    beside = k / (4 * k**2 - 1).sqrt()
    nodes, vectors = torch.linalg.eigh(beside.diag(1) + beside.diag(-1))
    return (nodes + 1) / 2, vectors[0] ** 2


def _values(theta: LinearTheta, points: Tensor) -> Tensor:
    """φ_j(t) at each of `points`, a matrix (points, nodes)."""
    values = points.new_zeros(len(points), len(theta.nodes))
    for index in range(theta.number_of_pieces):
        start, end = theta.interval(index)
        inside = (start < points) & (points < end)
        t, columns = points[inside], theta.nodes_of_piece(index)
        weights = [0 * t + weight for weight in theta.weights(index, start, end, t)]
        values[inside, columns.start : columns.stop] = torch.stack(weights, dim=1)
    return values
