"""Refinement: the same flow with smaller steps, or the same θ(t) on more pieces (Chang et al. 2018, section 3).

Two operators, not one. `refine_steps` halves the step and keeps θ, so the map moves by O(h^order): a Euler net of h = 1
becomes the same vector field solved better. `refine_theta` holds the same function θ(t) on twice the pieces and takes
half the steps on each, so the map does not move, and there are twice the parameters to train on. Chang et al.'s
prolongation of a ResNet is the first followed by the second. Each has a left inverse, `coarsen_…`.

All four are pure: they take a block or a whole network and return a new one; weights and BatchNorm statistics are
copied, and nothing is shared with the original. How far the output moves, on inputs of yours, is
`odenet.measure.output_distance(before, after, x)`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import TypeVar

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
    """The same θ(t) with `factor` times the steps: h → h/factor on every block; the output moves by O(h^order).

    Args:
        model: a block, or a network with blocks, all of `FixedSteps`.
        factor: a whole number, 1 or more.

    Raises:
        ValueError: a block whose steps are not fixed.
    """
    return _on_copies(model, lambda block: _step(block, _fixed(block).per_piece * factor))


@checked
def coarsen_steps(model: Model, factor: int = 2) -> Model:
    """The left inverse of `refine_steps`: a `factor`-th of the steps on every piece.

    Raises:
        ValueError: the number of steps on a piece is not a multiple of `factor`.
    """
    return _on_copies(model, lambda block: _step(block, _divided(_fixed(block).per_piece, factor, block)))


@checked
def refine_theta(model: Model, factor: int = 2) -> Model:
    """The same function θ(t) on `factor` times the pieces, a `factor`-th of the steps on each: the output is the same.

    A block with one step a piece has no steps to share out: `refine_theta(refine_steps(model))` doubles the layers of a
    ResNet, halves its h and starts from the same θ(t). New nodes are copies (`PiecewiseConstant`), lie on the polygon
    (`PiecewiseLinear`), or follow from knot insertion (`Spline`). An optimizer of the nodes goes on by
    `odenet.training.refine_optimizer_state`.

    Raises:
        ValueError: the steps on a piece are not a multiple of `factor`, or θ is `Constant` or `Galerkin` (one function
            at every t, with no pieces to share out: `PiecewiseConstant([branch])` has).
    """

    def refine(block: ODEBlock) -> None:
        per_piece = _divided(_fixed(block).per_piece, factor, block)
        _hold(block, _refined(block.theta, factor))
        _step(block, per_piece)

    return _on_copies(model, refine)


@checked
def coarsen_theta(model: Model, factor: int = 2) -> Model:
    """The left inverse of `refine_theta`: every `factor`-th node, with `factor` times the steps on each piece.

    On a θ(t) that is no refinement of a coarser one, the nodes in between are dropped. The nodes of a `Spline` of
    degree 2 or more are no values of θ: its coarser one is the nearest in L² (`project_theta`), and after a refinement
    the original to rounding.

    Raises:
        ValueError: the number of pieces is not a multiple of `factor`, or θ is `Constant` or `Galerkin`.
    """

    def coarsen(block: ODEBlock) -> None:
        per_piece = _fixed(block).per_piece * factor
        _hold(block, _coarsened(block.theta, factor))
        _step(block, per_piece)

    return _on_copies(model, coarsen)


def _on_copies(model: Model, change: Callable[[ODEBlock], None]) -> Model:
    new = copy.deepcopy(model)
    blocks = [module for module in new.modules() if isinstance(module, ODEBlock)]
    if not blocks:
        raise ValueError(f"a {type(model).__name__} without an ODEBlock was given: there is no flow to refine.")
    for block in blocks:
        change(block)
    return new


def _fixed(block: ODEBlock) -> FixedSteps:
    if not isinstance(block.stepping, FixedSteps):
        raise ValueError(
            f"{block.label} steps by {block.stepping!r}, which chooses its own steps; set stepping=FixedSteps(...) "
            "before refining or coarsening."
        )
    return block.stepping


def _step(block: ODEBlock, per_piece: int) -> None:
    block.stepping = FixedSteps(_fixed(block).solver, per_piece)


def _hold(block: ODEBlock, theta: Theta) -> None:
    """Give the block another θ, in the mode of its former one; the nodes have theirs."""
    theta.training = theta.nodes.training = block.theta.training
    noise, block.noise = block.noise, None
    block.theta = theta
    block.noise = None if noise is None else noise.on_pieces(theta.number_of_pieces)


def _divided(number: int, factor: int, block: ODEBlock) -> int:
    if number % factor:
        raise ValueError(
            f"{block.label} takes {number} steps on a piece, not a multiple of {factor}; a piece is cut into whole "
            "steps: call refine_steps first, or use another factor."
        )
    return number // factor


def _refined(theta: Theta, factor: int) -> Theta:
    finer = []
    for weights in knot_insertion(degree_of(theta), theta.number_of_pieces, factor):
        node = copy.deepcopy(theta.nodes[min(weights)])
        if len(weights) > 1:
            combine(node, theta.nodes, weights)
        finer.append(node)
    return _of_nodes(theta, finer)


def _coarsened(theta: Theta, factor: int) -> Theta:
    degree = degree_of(theta)
    if theta.number_of_pieces % factor:
        raise ValueError(
            f"θ has {theta.number_of_pieces} pieces, not a multiple of {factor}; they are joined {factor} at a time: "
            "use a factor that divides them."
        )
    if degree > 1:
        return project_theta(theta, partial(Spline, degree=degree), theta.number_of_pieces // factor + degree)
    return _of_nodes(theta, list(theta.nodes)[::factor])


def degree_of(theta: Theta) -> int:
    """Of the polynomials between its jumps and bends that θ is made of; all these kinds are splines.

    Raises:
        ValueError: a θ that is made otherwise, and cannot be refined.
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
        "or Spline: project_theta makes one of it."
    )


def _of_nodes(theta: Theta, nodes: list[nn.Module]) -> Theta:
    """A θ of the kind of `theta`."""
    if isinstance(theta, Spline):
        return Spline(nodes, theta.degree, theta.horizon)
    return (PiecewiseConstant if isinstance(theta, PiecewiseConstant) else PiecewiseLinear)(nodes, theta.horizon)
