"""How smooth θ and the state are over depth: what a residual network must be to have an ODE for its limit.

The distance of a ResNet of N layers from the flow of its interpolated θ vanishes with 1/N only if the residuals of
neighbouring layers differ by O(1/N) (Sander et al. 2022, *Do Residual Neural Networks discretize Neural ODEs?*,
proposition 1).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from odenet.blocks.arguments import checked
from odenet.blocks.block import ODEBlock
from odenet.blocks.replay.replay import resting_statistics
from odenet.blocks.theta.base import Theta


@checked
@torch.no_grad()
def theta_roughness(theta: Theta) -> list[float]:
    """2·‖θ_{i+1} - θ_i‖/(‖θ_{i+1}‖ + ‖θ_i‖) of neighbouring nodes: 0 where they are equal, √2 where unrelated.

    Over all weights together, without biases and the scales of normalizations, which are alike in unrelated nodes.

    >>> from odenet import MLPBranch, PiecewiseConstant
    >>> node = MLPBranch(2)
    >>> theta_roughness(PiecewiseConstant([node, node, node]))
    [0.0, 0.0]
    """
    vectors = [torch.cat([p.flatten() for p in node.parameters() if p.ndim > 1]) for node in theta.nodes]
    return [_relative_difference(left, right) for left, right in pairwise(vectors)]


@checked
@torch.no_grad()
def state_roughness(block: ODEBlock, x: Tensor) -> list[float]:
    """2·‖v_{k+1} - v_k‖/(‖v_{k+1}‖ + ‖v_k‖) of neighbouring steps v_k = x_{k+1} - x_k: of the speed of the state.

    0 where the state moves on as before, √2 where the steps are unrelated, 2 where it goes back.

    Args:
        block: of Euler steps, whose states are the arguments of its branches.
        x: its initial state, of shape (batch, …).
    """
    states = visited_states(block, x)
    speeds = [after - before for before, after in pairwise(states)]
    return [_relative_difference(first, second) for first, second in pairwise(speeds)]


@checked
@torch.no_grad()
def visited_states(block: ODEBlock, x: Tensor) -> list[Tensor]:
    """The arguments of F in a forward pass from x, in order, and x(T): under Euler, the states at the steps.

    In the mode that the block is in; statistics of BatchNorm stay as they are.
    """
    states: list[Tensor] = []

    def note(_node: nn.Module, arguments: tuple[object, Tensor]) -> None:
        states.append(arguments[1])

    # A node that is used twice has one hook.
    hooks = [node.register_forward_pre_hook(note) for node in dict.fromkeys(block.theta.nodes)]
    try:
        with resting_statistics(block):
            end = block(x)
    finally:
        for hook in hooks:
            hook.remove()
    return [*states, end]


def _relative_difference(one: Tensor, other: Tensor) -> float:
    return float(2 * (other - one).norm() / (one.norm() + other.norm()))
