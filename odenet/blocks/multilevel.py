"""Refinement: the same flow with smaller steps, or the same θ(t) on more pieces (Chang et al. 2018, section 3).

There are two operators. `refine_steps` halves the step and keeps θ, so the map changes by O(h^order): a network of
Euler steps with h = 1 becomes a more accurate solution of the same equation. `refine_theta` represents the same
function θ(t) on twice the pieces and takes half the steps on each, so the map does not change, and there are twice as
many parameters to train. The prolongation of a ResNet in Chang et al. is the first followed by the second. Each has a
left inverse, `coarsen_steps` and `coarsen_theta`. Statistics of normalizations along the solve (`recalibrate`) follow:
at another step they are interpolated in t, with a warning; on other pieces with the same steps they are the same.

All four are pure functions: they take a block or a whole network and return a new one. Weights and BatchNorm statistics
are copied, and nothing is shared with the original. `odenet.measure.output_distance(before, after, x)` measures how far
the output moves on given inputs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import nn

from odenet.blocks.arguments import checked
from odenet.blocks.block import ODEBlock
from odenet.blocks.stepping.fixed import FixedSteps
from odenet.blocks.theta.base import PiecewiseConstant, PiecewiseLinear, Theta
from odenet.blocks.theta.convert import combine, project_theta
from odenet.blocks.theta.spline import Spline, knot_insertion

Model = TypeVar("Model", bound=nn.Module)


@checked
def refine_steps(model: Model, factor: int = 2) -> Model:
    """Return a copy with the same θ(t) and `factor` times the steps, h → h/factor; the output moves by O(h^order).

    Args:
        model: an ODE block, or a network that contains some; all must step by `FixedSteps`.
        factor: number of new steps for each old one, at least 1.

    Raises:
        ValueError: if a block has another stepping than `FixedSteps`.
    """
    return _changed_copy(model, lambda block: _set_per_piece(block, _fixed_stepping(block).per_piece * factor))


@checked
def coarsen_steps(model: Model, factor: int = 2) -> Model:
    """Return a copy with 1/factor of the steps on every piece: the left inverse of `refine_steps`.

    Raises:
        ValueError: if the number of steps on a piece is not a multiple of `factor`.
    """
    return _changed_copy(
        model, lambda block: _set_per_piece(block, _divide_steps(_fixed_stepping(block).per_piece, factor, block))
    )


@checked
def refine_theta(model: Model, factor: int = 2) -> Model:
    """Return a copy with the same θ(t) on `factor` times the pieces and 1/factor of the steps on each: the same output.

    A block with one step on each piece has to be refined in its steps first: `refine_theta(refine_steps(model))`
    doubles the layers of a ResNet, halves h and starts from the same θ(t). New nodes are copies (`PiecewiseConstant`),
    lie on the polygon (`PiecewiseLinear`), or follow from knot insertion (`Spline`). To continue with the state of an
    optimizer of the nodes, use `odenet.training.refine_optimizer_state`.

    Raises:
        ValueError: if the number of steps on a piece is not a multiple of `factor`, or θ is `Constant` or `Galerkin`,
            which has no pieces to divide (`PiecewiseConstant([branch])` has).
    """

    def refine(block: ODEBlock) -> None:
        per_piece = _divide_steps(_fixed_stepping(block).per_piece, factor, block)
        _replace_theta(block, _refine_nodes(block.theta, factor), per_piece, same=True)

    return _changed_copy(model, refine)


@checked
def coarsen_theta(model: Model, factor: int = 2) -> Model:
    """Return a copy with every `factor`-th node and `factor` times the steps on each piece: inverts `refine_theta`.

    If θ(t) is not a refinement of a coarser one, the nodes in between are dropped. The nodes of a `Spline` of degree 2
    or more are not values of θ; its coarser spline is the nearest one in L² (`project_theta`), which after a refinement
    is the original up to rounding.

    Raises:
        ValueError: if the number of pieces is not a multiple of `factor`, or θ is `Constant` or `Galerkin`.
    """

    def coarsen(block: ODEBlock) -> None:
        per_piece = _fixed_stepping(block).per_piece * factor
        coarse = _coarsen_nodes(block.theta, factor)
        _replace_theta(block, coarse, per_piece, same=_is_refinement(block.theta, coarse, factor))

    return _changed_copy(model, coarsen)


def _changed_copy(model: Model, change: Callable[[ODEBlock], None]) -> Model:
    new = copy.deepcopy(model)
    blocks = [module for module in new.modules() if isinstance(module, ODEBlock)]
    if not blocks:
        raise ValueError(f"a {type(model).__name__} without an ODEBlock was given: there is no flow to refine.")
    for block in blocks:
        change(block)
    return new


def _fixed_stepping(block: ODEBlock) -> FixedSteps:
    if not isinstance(block.stepping, FixedSteps):
        raise ValueError(
            f"{block.label} has the stepping {block.stepping!r}, which chooses its own steps; set "
            "stepping=FixedSteps(...) before refining or coarsening."
        )
    return block.stepping


def _set_per_piece(block: ODEBlock, per_piece: int) -> None:
    block.stepping = FixedSteps(_fixed_stepping(block).solver, per_piece)


def _replace_theta(block: ODEBlock, theta: Theta, per_piece: int, *, same: bool) -> None:
    """Give the block another θ with as many steps in all, which keep their statistics if θ(t) is the `same`."""
    present, others = block.statistics_of_present_solve(), block.statistics
    _set_theta(block, theta)
    _set_per_piece(block, per_piece)
    if same and present is not None:
        block.divide_statistics(present)
    elif same and block.statistics is not None:
        block.statistics = others


def _is_refinement(theta: Theta, coarse: Theta, factor: int) -> bool:
    """Whether θ(t) is that of `coarse` up to rounding, by the parameters of their nodes."""
    if degree_of(theta) > 1:
        return False
    pairs = zip(theta.nodes.parameters(), _refine_nodes(coarse, factor).nodes.parameters(), strict=True)
    return all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in pairs)


def _set_theta(block: ODEBlock, theta: Theta) -> None:
    """Give the block another θ, in the training mode of its former one; the nodes keep their own modes."""
    theta.training = theta.nodes.training = block.theta.training
    noise, block.noise = block.noise, None
    block.theta = theta
    block.noise = None if noise is None else noise.on_pieces(theta.number_of_pieces)


def _divide_steps(number: int, factor: int, block: ODEBlock) -> int:
    if number % factor:
        raise ValueError(
            f"{block.label} takes {number} steps on a piece, not a multiple of {factor}; a piece is cut into whole "
            "steps: call refine_steps first, or use another factor."
        )
    return number // factor


def _refine_nodes(theta: Theta, factor: int) -> Theta:
    finer = []
    for weights in knot_insertion(degree_of(theta), theta.number_of_pieces, factor):
        node = copy.deepcopy(theta.nodes[min(weights)])
        if len(weights) > 1:
            combine(node, theta.nodes, weights)
        finer.append(node)
    return _with_nodes(theta, finer)


def _coarsen_nodes(theta: Theta, factor: int) -> Theta:
    degree = degree_of(theta)
    if theta.number_of_pieces % factor:
        raise ValueError(
            f"θ has {theta.number_of_pieces} pieces, not a multiple of {factor}; they are joined {factor} at a time: "
            "use a factor that divides the number of pieces."
        )
    if degree > 1:
        return project_theta(theta, partial(Spline, degree=degree), theta.number_of_pieces // factor + degree)
    return _with_nodes(theta, list(theta.nodes)[::factor])


def degree_of(theta: Theta) -> int:
    """Return the degree of the polynomial pieces of θ; the kinds of θ that can be refined are all splines.

    Raises:
        ValueError: if θ is not piecewise polynomial and cannot be refined.
    """
    match theta:
        case PiecewiseConstant():
            return 0
        case PiecewiseLinear():
            return 1
        case Spline():
            return theta.degree
    raise ValueError(
        f"θ is {type(theta).__name__}, which has no pieces to refine or join; use PiecewiseConstant, PiecewiseLinear "
        "or Spline: project_theta converts it."
    )


def _with_nodes(theta: Theta, nodes: list[nn.Module]) -> Theta:
    """Return a θ of the class of `theta` with other nodes."""
    if isinstance(theta, Spline):
        return Spline(nodes, theta.degree, theta.horizon)
    return (PiecewiseConstant if isinstance(theta, PiecewiseConstant) else PiecewiseLinear)(nodes, theta.horizon)
