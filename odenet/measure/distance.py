"""Distance of a network from the flow of its own vector field, and from another network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from odenet.blocks.arguments import checked
from odenet.blocks.configuration import configure
from odenet.blocks.precision import full_precision
from odenet.blocks.stepping.base import Stepping
from odenet.measure.mode import in_mode
from odenet.models.resnet import ResNet


@checked
def distance_to_flow(model: ResNet, images: Tensor, reference: Stepping) -> float:
    """Compute the mean over images of ‖x_h - x‖₂/‖x‖₂ for final states x_h of the net and x with `reference` stepping.

    The final state is the last feature map, before pooling. If the error of `reference` is negligible, this is the
    relative discretization error of the network: 0 means that the net *is* the flow of its vector field. The net is in
    evaluation mode, so that BatchNorm statistics neither change nor depend on the batch.

    Args:
        model: network with a method `features(images)`.
        images: images of shape (batch, channels, height, width).
        reference: stepping of the reference solution, set temporarily on every block.
    """
    as_is = final_state(model, images)
    with configure(model, stepping=reference):
        return relative_distance(as_is, final_state(model, images))


@checked
@torch.no_grad()
def final_state(model: ResNet, images: Tensor) -> Tensor:
    """Return x(T) of the last flow: the last feature map, before pooling, in evaluation mode and full precision.

    Args:
        model: network with a method `features(images)`.
        images: images of shape (batch, channels, height, width).
    """
    with in_mode(model, training=False), full_precision(images.device.type):
        return model.features(images)


@checked
def relative_distance(found: Tensor, expected: Tensor) -> float:
    """Compute the mean over samples of ‖found - expected‖₂/‖expected‖₂, with 0/0 = 0.

    >>> relative_distance(torch.tensor([[3.0, 0.0], [0.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 0.0]]))
    0.25

    Args:
        found: tensor of shape (batch, …).
        expected: tensor of the same shape.
    """
    difference, size = ((y.flatten(1).norm(dim=1)) for y in (found - expected, expected))
    return float(torch.where(difference == 0, 0, difference / size).mean())


@checked
@torch.no_grad()
def output_distance(before: nn.Module, after: nn.Module, x: Tensor) -> float:
    """Compute the mean over samples of ‖after(x) - before(x)‖₂/‖before(x)‖₂, the effect of a change of a network.

    The distance is at the level of rounding errors for `refine_theta`, and for `coarsen_theta` of a refined θ. It is
    O(h^order) for `refine_steps`, and the approximation error for `project_theta` or another solver. Both networks are
    put into evaluation mode, and afterwards back into their modes; neither autocast nor TF32 rounds what they compute.

    >>> from odenet import ODEBlock, MLPBranch, PiecewiseConstant, refine_steps, refine_theta
    >>> block = ODEBlock(PiecewiseConstant([MLPBranch(2)] * 4))
    >>> x = torch.ones(3, 2)
    >>> finer = refine_steps(block)
    >>> output_distance(block, finer, x) > output_distance(finer, refine_theta(finer), x) == 0
    True

    Args:
        before: network that maps x to one tensor of shape (batch, …).
        after: network with outputs of the same shape.
        x: inputs of shape (batch, …).

    Raises:
        ValueError: if the outputs have different shapes.
    """
    with in_mode(before, after, training=False), full_precision(x.device.type):
        old, new = before(x), after(x)
    if old.shape != new.shape:
        raise ValueError(
            f"outputs of shapes {tuple(old.shape)} and {tuple(new.shape)} cannot be compared; a distance needs "
            "equal shapes: pass two networks with the same outputs."
        )
    return relative_distance(new, old)
