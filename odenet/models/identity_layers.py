"""Identity layers: a deeper network that computes what a shallower one does (He et al. 2015, section 1).

"The existence of this constructed solution indicates that a deeper model should produce no higher training error than
its shallower counterpart." Here it is constructed.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from odenet.blocks.arguments import checked
from odenet.blocks.block import ODEBlock
from odenet.blocks.branches import BasicBranch, BottleneckBranch
from odenet.blocks.stepping.fixed import FixedSteps
from odenet.blocks.theta.base import PiecewiseConstant
from odenet.models.plain import Substitution

Model = TypeVar("Model", bound=nn.Module)


@checked
def add_identity_layers(model: Model, layers: int) -> Model:
    """A copy of `model` with `layers` more pieces at the end of every flow, none of which changes the state.

    A residual layer is the identity where its branch is zero: the last weights of the branch (of its normalization in a
    post-activation net, of its convolution in a pre-activation one) are set to 0, in training mode and in evaluation
    mode alike. The rest of the branch is a copy of that of the layer before, so that it can be trained from there.

    A plain layer x ↦ relu(norm(conv(relu(norm(conv(x)))))) is the identity on states x ≥ 0, which is what a projection
    by relu leaves, with Dirac kernels, γ = 1, β = 0, μ = 0 and σ² = 1 - ε: then σ² + ε is 1 in floating point too, in
    the type that `model` has (float32 or float64; convert before, not after). That is so in evaluation mode alone: in
    training mode BatchNorm takes mean and variance of the batch, and a plain layer that normalizes its state is no
    identity, whatever its weights.

    With fixed steps the outputs are the same bit for bit wherever a convolution is a sum in the type of its weights: on
    a CPU, and on a GPU without autocast and without TF32.

    >>> from odenet.models import plain20
    >>> net = plain20().eval()
    >>> deeper = add_identity_layers(net, 6)
    >>> x = torch.randn(2, 3, 16, 16)
    >>> torch.equal(deeper(x), net(x)), deeper.stages[0].flow.theta.number_of_pieces
    (True, 9)

    Args:
        model: a network of flows with piecewise-constant θ, plain or residual; it is left as it is.
        layers: how many for each flow, 1 or more; the horizon grows with them, the step stays.

    Raises:
        ValueError: a network without flows, or a flow whose layers cannot be made identities.
    """
    deeper = copy.deepcopy(model)
    blocks = [module for module in deeper.modules() if isinstance(module, ODEBlock)]
    if not blocks:
        raise ValueError(
            f"identity layers were asked for in a {type(model).__name__} without an ODEBlock; they are added to the "
            "flows of a network: pass one with flows."
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
    """Make the branch F = 0."""
    if not isinstance(node, BasicBranch | BottleneckBranch):
        raise _impossible(block, f"which weights of a {type(node).__name__} make it zero is not known", _BRANCHES)
    last = "2" if isinstance(node, BasicBranch) else "3"
    module = node.get_submodule(("conv" if node.activation == "pre" else "norm") + last)
    if not list(module.parameters()):
        raise _impossible(block, f"{type(module).__name__} has no weights to set to 0", "use a norm with weights")
    for parameter in module.parameters():
        parameter.zero_()


@torch.no_grad()
def _substitute_identity(block: ODEBlock, node: nn.Module) -> None:
    """Make the branch F(x) = x for x ≥ 0."""
    if not isinstance(node, BasicBranch) or node.activation != "post" or block.projection is not torch.relu:
        raise _impossible(
            block, "without the identity only conv-norm-relu layers of one width can be made one", _BRANCHES
        )
    for conv, norm in ((node.conv1, node.norm1), (node.conv2, node.norm2)):
        if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
            raise _impossible(block, f"{type(norm).__name__} normalizes by the state itself", "use BatchNorm2d")
        nn.init.dirac_(conv.weight)
        norm.reset_parameters()
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0).sub_(norm.eps)


_BRANCHES = "use BasicBranch, in a plain net with activation='post' and the projection torch.relu"


def _impossible(block: ODEBlock, why: str, instead: str) -> ValueError:
    return ValueError(f"identity layers were asked for in {block.label}; {why}: {instead}.")
