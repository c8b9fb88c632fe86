"""Smoothness of θ and of the state over depth, a condition for the limit of a residual network to be an ODE.

The distance of a ResNet with N layers from the flow of its interpolated θ vanishes as 1/N only if the residuals of
neighbouring layers differ by O(1/N) (Sander et al. 2022, *Do Residual Neural Networks discretize Neural ODEs?*,
proposition 1).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from odenet.blocks.arguments import checked
from odenet.blocks.block import ODEBlock
from odenet.blocks.precision import full_precision
from odenet.blocks.replay.replay import frozen_buffers
from odenet.blocks.theta.base import Theta


@checked
@torch.no_grad()
def theta_roughness(theta: Theta) -> list[float]:
    """Compute 2·‖θ_{i+1} - θ_i‖/(‖θ_{i+1}‖ + ‖θ_i‖) for neighbouring nodes: 0 if equal, √2 if unrelated.

    The norm is over all weights together, without biases and scales of normalizations, which are similar even in
    unrelated nodes.

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
    """Compute 2·‖v_{k+1} - v_k‖/(‖v_{k+1}‖ + ‖v_k‖) for neighbouring steps v_k = x_{k+1} - x_k of the state.

    It is 0 if the two steps are equal, √2 if they are unrelated, and 2 if the second undoes the first.

    Args:
        block: ODE block with Euler steps, so that its states are the arguments of its branches.
        x: initial state of shape (batch, …).
    """
    states = visited_states(block, x)
    steps = [after - before for before, after in pairwise(states)]
    return [_relative_difference(first, second) for first, second in pairwise(steps)]


@checked
@torch.no_grad()
def visited_states(block: ODEBlock, x: Tensor) -> list[Tensor]:
    """Return the arguments of F in a forward pass from x, in order, and x(T): with Euler, the states between steps.

    The block is evaluated in its current mode, but statistics of BatchNorm do not change.
    """
    states: list[Tensor] = []

    def record(_node: nn.Module, arguments: tuple[object, Tensor]) -> None:
        states.append(arguments[1])

    # One hook for each module, even if it is used as several nodes.
    hooks = [node.register_forward_pre_hook(record) for node in dict.fromkeys(block.theta.nodes)]
    try:
        with frozen_buffers(block), full_precision(x.device.type):
            end = block(x)
    finally:
        for hook in hooks:
            hook.remove()
    return [*states, end]


def _relative_difference(one: Tensor, other: Tensor) -> float:
    return float(2 * (other - one).norm() / (one.norm() + other.norm()))
