"""Projection of a trained θ(t) onto another kind of θ, or onto fewer nodes, by least squares over depth."""

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
"""Gauss points on each interval in addition to two per node; 16 are exact for polynomials up to degree 31."""


@checked
def project_theta(theta: Annotated[Theta, Inside()], kind: Callable[..., Kind], nodes: int) -> Kind:
    """Return the θ̂ with `nodes` nodes that minimizes ∫₀ᵀ ‖θ(t) - θ̂(t)‖² dt for every parameter.

    If the other kind contains θ, then θ̂ = θ up to rounding: a polygon is a spline of degree 1, and every kind contains
    the constants. Otherwise θ̂ is the nearest one in L²; half as many pieces, for example, get the mean parameters of
    each pair. Floating-point and complex buffers are projected as parameters are; integer buffers and training modes
    are copied from nodes at the same depth. A projected variance is sure to be positive only if the kind is
    `PiecewiseConstant`; other kinds can overshoot where θ jumps, so compare the outputs before and after.

    The example compresses a trained block to a third of its parameters, and then makes θ a polynomial over depth:

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
        theta: `Constant`, `PiecewiseConstant`, `PiecewiseLinear`, `Spline`, `Galerkin`; it is not changed.
        kind: class of θ̂, or a function of (nodes, horizon=T) such as `partial(Spline, degree=2)`.
        nodes: number of nodes of θ̂.

    Returns:
        θ̂ with the horizon of `theta`. If its number of pieces differs, so does the number of steps: `per_piece` is the
        number of steps on each piece.

    Raises:
        TypeError: if `theta` or `kind` is not a combination of nodes.
        ValueError: if `nodes` is larger than the number of nodes of `theta` and the new kind does not contain θ: n
            values of a parameter do not determine more than n, and θ̂ would oscillate between the nodes. Also if the
            nodes have different architectures.
    """
    if not isinstance(theta, LinearTheta):
        raise TypeError(
            f"project_theta was given a {type(theta).__name__}; it projects combinations of nodes: pass Constant, "
            "PiecewiseConstant, PiecewiseLinear, Spline or Galerkin."
        )
    require_same_tensors(theta)
    old = len(theta.nodes)
    copies = [copy.deepcopy(theta.nodes[j * old // nodes]) for j in range(nodes)]
    new = _build(kind, copies, theta.horizon)
    matrix, contained = _least_squares(theta, new)
    if nodes > old and not contained:
        raise ValueError(
            f"a {type(new).__name__} of {nodes} nodes was asked for, which does not contain the given "
            f"{type(theta).__name__} of {old}: {old} values of a parameter do not determine {nodes}. Project onto "
            f"{old} nodes or fewer, then use refine_theta."
        )
    for node, weights in zip(new.nodes, matrix.tolist(), strict=True):
        combine(node, theta.nodes, dict(enumerate(weights)))
    new.training = new.nodes.training = theta.training
    return new


@torch.no_grad()
def combine(node: nn.Module, nodes: Sequence[nn.Module] | nn.ModuleList, weights: Mapping[int, Any]) -> None:
    """Set every floating-point or complex tensor of `node` to Σ_j w_j·(tensor of `nodes[j]`), in double precision.

    If w_j = 1 is the only nonzero weight, the tensor is exactly that of `nodes[j]`.
    """
    sources = {j: dict(named_tensors(nodes[j])) for j, weight in weights.items() if weight}
    for name, tensor in named_tensors(node):
        if is_differentiable(tensor):
            dtype = torch.promote_types(tensor.dtype, torch.float64)
            terms = (float(weights[j]) * source[name].to(dtype) for j, source in sources.items())
            tensor.copy_(sum(terms, torch.zeros_like(tensor, dtype=dtype)))


def _build(kind: Callable[..., Kind], nodes: list[nn.Module], horizon: float) -> Kind:
    if kind is Constant and len(nodes) > 1:
        raise ValueError(f"nodes must be 1 for Constant, got {len(nodes)}; a constant θ has one node: pass nodes=1.")
    new = kind(nodes[0] if kind is Constant else nodes, horizon=horizon)
    if not isinstance(new, LinearTheta):
        raise TypeError(
            f"kind = {kind!r} makes a {type(new).__name__}; θ is projected onto combinations of nodes: pass Constant, "
            "PiecewiseConstant, PiecewiseLinear, Spline, Galerkin, or a function that makes one of these."
        )
    return new


def _least_squares(theta: LinearTheta, new: LinearTheta) -> tuple[Tensor, bool]:
    """Return the matrix (new nodes, old nodes) that makes the nodes of θ̂ from those of θ, and whether θ̂ = θ."""
    points, measures = _quadrature(theta, new)
    basis, values = (measures.sqrt()[:, None] * _basis_values(kind, points) for kind in (new, theta))
    matrix = torch.linalg.lstsq(basis, values, driver="gelsd").solution
    rounded = matrix.round()
    matrix = torch.where((matrix - rounded).abs() < 1e-12, rounded, matrix)  # so that copies are exact
    return matrix, bool((basis @ matrix - values).norm() < 1e-9 * values.norm())


def _quadrature(*thetas: LinearTheta) -> tuple[Tensor, Tensor]:
    """Return Gauss points inside the intervals on which all `thetas` are smooth, and weights: ∫f dt ≈ Σ w·f(t)."""
    ends = {end for theta in thetas for index in range(theta.number_of_pieces) for end in theta.interval(index)}
    nodes, weights = _gauss(_POINTS + 2 * max(len(theta.nodes) for theta in thetas))
    grid = torch.tensor(sorted(ends), dtype=torch.float64)
    starts, lengths = grid[:-1, None], grid.diff()[:, None]
    return (starts + lengths * nodes).flatten(), (lengths * weights).flatten()


def _gauss(points: int) -> tuple[Tensor, Tensor]:
    """Return the nodes and weights of Gauss-Legendre quadrature on [0, 1] (Golub and Welsch 1969)."""
    k = torch.arange(1, points, dtype=torch.float64)
    off_diagonal = k / (4 * k**2 - 1).sqrt()
    nodes, vectors = torch.linalg.eigh(off_diagonal.diag(1) + off_diagonal.diag(-1))
    return (nodes + 1) / 2, vectors[0] ** 2


def _basis_values(theta: LinearTheta, points: Tensor) -> Tensor:
    """Return φ_j(t) at each of `points`, as a matrix (points, nodes)."""
    values = points.new_zeros(len(points), len(theta.nodes))
    for index in range(theta.number_of_pieces):
        start, end = theta.interval(index)
        inside = (start < points) & (points < end)
        t, columns = points[inside], theta.nodes_of_piece(index)
        weights = [0 * t + weight for weight in theta.weights(index, start, end, t)]
        values[inside, columns.start : columns.stop] = torch.stack(weights, dim=1)
    return values
