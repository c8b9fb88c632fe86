"""Refinement: the same flow with smaller steps, or the same θ(t) on more pieces (Chang et al. 2018, section 3).

Two operators, not one. `refine_steps` halves the step and keeps θ, so the map moves by O(h^order): a Euler net of h = 1
becomes the same vector field solved better. `refine_theta` holds the same function θ(t) on twice the pieces and takes
half the steps on each, so the map does not move, and there are twice the parameters to train on. Chang et al.'s
prolongation of a ResNet is the first followed by the second. Each has a left inverse, `coarsen_…`.

All four are pure: they take a block or a whole network and return a new one; weights and BatchNorm statistics are
copied, and nothing is shared with the original.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn

from odenet.blocks.block import ODEBlock
from odenet.blocks.stepping import FixedSteps
from odenet.blocks.theta import Constant, PiecewiseConstant, PiecewiseLinear, Theta

Model = TypeVar("Model", bound=nn.Module)


def refine_steps(model: Model, factor: int = 2) -> Model:
    """The same θ(t) with `factor` times the steps: h → h/factor on every block; the output moves by O(h^order).

    Args:
        model: a block, or a network with blocks, all of `FixedSteps`.
        factor: a whole number, 1 or more.

    Raises:
        ValueError: a block whose steps are not fixed.
    """
    return _on_copies(model, factor, lambda block: _step(block, _fixed(block).per_piece * factor))


def coarsen_steps(model: Model, factor: int = 2) -> Model:
    """The left inverse of `refine_steps`: a `factor`-th of the steps on every piece.

    Raises:
        ValueError: the number of steps on a piece is not a multiple of `factor`.
    """
    return _on_copies(model, factor, lambda block: _step(block, _divided(_fixed(block).per_piece, factor, block)))


def refine_theta(model: Model, factor: int = 2) -> Model:
    """The same function θ(t) on `factor` times the pieces, a `factor`-th of the steps on each: the output is the same.

    A block with one step a piece has no steps to share out: `refine_theta(refine_steps(model))` doubles the layers of a
    ResNet, halves its h and starts from the same θ(t).

    Raises:
        ValueError: the steps on a piece are not a multiple of `factor`, or θ is `Constant` (one function at every t,
            with no pieces to share out: `PiecewiseConstant([branch])` has).
    """

    def refine(block: ODEBlock) -> None:
        per_piece = _divided(_fixed(block).per_piece, factor, block)
        _hold(block, _refined(block.theta, factor))
        _step(block, per_piece)

    return _on_copies(model, factor, refine)


def coarsen_theta(model: Model, factor: int = 2) -> Model:
    """The left inverse of `refine_theta`: every `factor`-th node, with `factor` times the steps on each piece.

    On a θ(t) that is no refinement of the coarser one, the nodes in between are dropped.

    Raises:
        ValueError: the number of pieces is not a multiple of `factor`, or θ is `Constant`.
    """

    def coarsen(block: ODEBlock) -> None:
        per_piece = _fixed(block).per_piece * factor
        _hold(block, _coarsened(block.theta, factor))
        _step(block, per_piece)

    return _on_copies(model, factor, coarsen)


def _on_copies(model: Model, factor: int, change: Callable[[ODEBlock], None]) -> Model:
    if isinstance(factor, bool) or not isinstance(factor, int) or factor < 1:
        raise ValueError(f"factor = {factor!r}; pieces and steps are whole: pass an integer of 1 or more.")
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
    nodes = list(theta.nodes)
    if isinstance(theta, PiecewiseConstant):
        finer = [copy.deepcopy(node) for node in nodes for _ in range(factor)]
        return PiecewiseConstant(finer, theta.horizon)
    if isinstance(theta, PiecewiseLinear):
        pairs = pairwise(nodes)
        finer = [_between(left, right, k / factor) for left, right in pairs for k in range(factor)]
        return PiecewiseLinear([*finer, copy.deepcopy(nodes[-1])], theta.horizon)
    raise _no_pieces(theta)


def _coarsened(theta: Theta, factor: int) -> Theta:
    if isinstance(theta, Constant) or not isinstance(theta, PiecewiseConstant | PiecewiseLinear):
        raise _no_pieces(theta)
    if theta.number_of_pieces % factor:
        raise ValueError(
            f"θ has {theta.number_of_pieces} pieces, not a multiple of {factor}; they are joined {factor} at a time: "
            "use a factor that divides them."
        )
    return type(theta)(list(theta.nodes)[::factor], theta.horizon)


def _no_pieces(theta: Theta) -> ValueError:
    return ValueError(
        f"θ is {type(theta).__name__}, which has no pieces to refine or join; use PiecewiseConstant or PiecewiseLinear."
    )


@torch.no_grad()
def _between(left: nn.Module, right: nn.Module, s: float) -> nn.Module:
    """A node with every floating-point tensor at (1-s)·left + s·right; exactly `left` at s = 0."""
    node = copy.deepcopy(left)
    if s > 0:
        others = right.state_dict()
        for name, tensor in node.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_((1 - s) * tensor + s * others[name])
    return node
