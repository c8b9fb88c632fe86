"""Identity layers: a deeper network that computes what a shallower one does (He et al. 2015, section 1).

"The existence of this constructed solution indicates that a deeper model should produce no higher training error than
its shallower counterpart." This module constructs that solution.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from odenet.blocks.arguments import checked
from odenet.blocks.block import ODEBlock
from odenet.blocks.branches import BasicBranch, BottleneckBranch
from odenet.blocks.projections import is_relu
from odenet.blocks.stepping.fixed import FixedSteps
from odenet.blocks.theta.base import PiecewiseConstant
from odenet.models.plain import Substitution

Model = TypeVar("Model", bound=nn.Module)


@checked
def add_identity_layers(model: Model, layers: int) -> Model:
    """Copy `model` with `layers` more pieces at the end of every flow, none of which changes the state.

    A residual layer is the identity if its branch is zero. So the last weights of the branch are set to 0: those of its
    normalization in a post-activation net, those of its convolution in a pre-activation one. This holds in training
    mode and in evaluation mode. The other weights are copied from the layer before, so that they can be trained.

    A plain layer x ↦ relu(norm(conv(relu(norm(conv(x)))))) is the identity on states x ≥ 0, the range of the projection
    relu, if it has Dirac kernels, γ = 1, β = 0, μ = 0 and σ² = 1 - ε. Then σ² + ε is 1 in floating point too, in the
    dtype of `model` (float32 or float64; convert the model before, not after). This holds in evaluation mode only: in
    training mode BatchNorm uses the mean and variance of the batch, and a plain layer that normalizes its state is not
    the identity for any weights.

    With fixed steps the outputs are equal bit for bit wherever a convolution sums in the dtype of its weights: on a
    CPU, and on a GPU without autocast and without TF32.

    >>> from odenet.models import plain20
    >>> net = plain20().eval()
    >>> deeper = add_identity_layers(net, 6)
    >>> x = torch.randn(2, 3, 16, 16)
    >>> torch.equal(deeper(x), net(x)), deeper.stages[0].flow.theta.number_of_pieces
    (True, 9)

    Args:
        model: plain or residual network of flows with piecewise-constant θ; it is not changed.
        layers: number of layers added to each flow, 1 or more; the horizon grows, and the step size stays.

    Raises:
        ValueError: if the network has no flows, or a flow whose layers cannot be made identities.
    """
    deeper = copy.deepcopy(model)
    blocks = [module for module in deeper.modules() if isinstance(module, ODEBlock)]
    if not blocks:
        raise ValueError(
            f"identity layers were asked for in a {type(model).__name__} without an ODEBlock; they are added to the "
            "flows of a network: pass a network that contains ODE blocks."
        )
    for block in blocks:
        _lengthen(block, layers)
    return deeper


def _lengthen(block: ODEBlock, layers: int) -> None:
    theta = block.theta
    if not isinstance(theta, PiecewiseConstant):
        raise _impossible(block, f"its θ is {type(theta).__name__}", "use PiecewiseConstant")
    make_identity = _substitute_identity if _is_plain(block) else _substitute_zero
    step = theta.horizon / theta.number_of_pieces
    for _ in range(layers):
        node = copy.deepcopy(theta.nodes[-1])
        make_identity(block, node)
        theta.nodes.append(node)
    theta.horizon = step * theta.number_of_pieces
    if block.noise is not None:
        block.noise.check(theta.number_of_pieces)


def _is_plain(block: ODEBlock) -> bool:
    return isinstance(block.stepping, FixedSteps) and isinstance(block.stepping.solver, Substitution)


@torch.no_grad()
def _substitute_zero(block: ODEBlock, node: nn.Module) -> None:
    """Set weights so that the branch is F = 0."""
    if not isinstance(node, BasicBranch | BottleneckBranch):
        raise _impossible(block, f"it is not known which weights of a {type(node).__name__} make it zero", _BRANCHES)
    last = "2" if isinstance(node, BasicBranch) else "3"
    module = node.get_submodule(("conv" if node.activation == "pre" else "norm") + last)
    if not list(module.parameters()):
        raise _impossible(block, f"{type(module).__name__} has no weights to set to 0", "use a norm with weights")
    for parameter in module.parameters():
        parameter.zero_()


@torch.no_grad()
def _substitute_identity(block: ODEBlock, node: nn.Module) -> None:
    """Set weights so that the branch is F(x) = x for x ≥ 0."""
    if not isinstance(node, BasicBranch) or node.activation != "post" or not is_relu(block.projection):
        raise _impossible(
            block, "in a plain net only conv-norm-relu layers of one width can be made the identity", _BRANCHES
        )
    for conv, norm in ((node.conv1, node.norm1), (node.conv2, node.norm2)):
        if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
            raise _impossible(block, f"{type(norm).__name__} normalizes by statistics of the state", "use BatchNorm2d")
        nn.init.dirac_(conv.weight)
        norm.reset_parameters()
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0).sub_(norm.eps)


_BRANCHES = "use BasicBranch, in a plain net with activation='post' and the projection Nonnegative()"


def _impossible(block: ODEBlock, why: str, instead: str) -> ValueError:
    return ValueError(f"identity layers were asked for in {block.label}; {why}: {instead}.")
