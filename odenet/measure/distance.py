"""How far a network is from the flow of its own vector field, and from another network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from odenet.blocks.arguments import checked
from odenet.blocks.configuration import configure
from odenet.blocks.stepping.base import Stepping
from odenet.measure.mode import in_mode
from odenet.models.resnet import ResNet


@checked
def distance_to_flow(model: ResNet, images: Tensor, reference: Stepping) -> float:
    """Mean over images of ‖x_h - x‖₂/‖x‖₂: the final state as the net computes it, against that under `reference`.

    The final state is the last feature map, before pooling. With a `reference` fine enough for its own error not to
    matter, this is the discretization error of the network, as a fraction: 0 means that the net *is* the flow of its
    vector field. In evaluation mode, so that statistics neither move nor depend on the batch.

    Args:
        model: a network with `features(images)`.
        images: of shape (batch, channels, height, width).
        reference: the stepping of the finest solution, set on every block for the moment.
    """
    as_is = final_state(model, images)
    with configure(model, stepping=reference):
        return relative_distance(as_is, final_state(model, images))


@checked
@torch.no_grad()
def final_state(model: ResNet, images: Tensor) -> Tensor:
    """x(T) of the last flow: the last feature map, before pooling, in evaluation mode.

    Args:
        model: a network with `features(images)`.
        images: of shape (batch, channels, height, width).
    """
    with in_mode(model, training=False):
        return model.features(images)


@checked
def relative_distance(found: Tensor, expected: Tensor) -> float:
    """Mean over samples of ‖found - expected‖₂/‖expected‖₂, where 0/0 = 0.

    >>> relative_distance(torch.tensor([[3.0, 0.0], [0.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 0.0]]))
    0.25

    Args:
        found: of shape (batch, …).
        expected: of the same shape.
    """
    difference, size = ((y.flatten(1).norm(dim=1)) for y in (found - expected, expected))
    return float(torch.where(difference == 0, 0, difference / size).mean())


@checked
@torch.no_grad()
def output_distance(before: nn.Module, after: nn.Module, x: Tensor) -> float:
    """Mean over samples of ‖after(x) - before(x)‖₂/‖before(x)‖₂: how far a change of a network moved its output.

    Rounding for `refine_theta` and `coarsen_theta` of what was refined; O(h^order) for `refine_steps`; what is lost by
    `project_theta` or another solver. In evaluation mode, which is taken back afterwards.

    >>> from odenet import ODEBlock, MLPBranch, PiecewiseConstant, refine_steps, refine_theta
    >>> block = ODEBlock(PiecewiseConstant([MLPBranch(2)] * 4))
    >>> x = torch.ones(3, 2)
    >>> finer = refine_steps(block)
    >>> output_distance(block, finer, x) > output_distance(finer, refine_theta(finer), x) == 0
    True

    Args:
        before: takes x and returns one tensor (batch, …).
        after: likewise, of the same shape.
        x: of shape (batch, …).

    Raises:
        ValueError: outputs of different shapes.
    """
    with in_mode(before, after, training=False):
        old, new = before(x), after(x)
    if old.shape != new.shape:
        raise ValueError(
            f"outputs of shapes {tuple(old.shape)} and {tuple(new.shape)} were to be compared; there is no distance "
            "between them: pass two networks with the same outputs."
        )
    return relative_distance(new, old)
