"""How far a network is from the flow of its own vector field."""

from __future__ import annotations

import torch
from torch import Tensor

from odenet.blocks.block import configure
from odenet.blocks.stepping import Stepping
from odenet.models.resnet import ResNet


@torch.no_grad()
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
    training = model.training
    model.eval()
    try:
        as_is = model.features(images)
        with configure(model, stepping=reference):
            exact = model.features(images)
    finally:
        model.train(training)
    difference = (as_is - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
    return float(difference.mean())
