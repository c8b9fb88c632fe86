"""The penalty of regularized dynamics: what the flows of a model cost in the last forward pass."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from odenet.blocks.annotations import Inside, wrong_type
from odenet.blocks.arguments import checked
from odenet.blocks.block import ODEBlock


@checked
def penalty(model: Annotated[nn.Module, Inside()]) -> Tensor:
    """Return Σ weight·mean over the batch of ∫c dt, over all costs of all regularized flows of `model`, a scalar.

    It belongs to the graph of the last forward pass: add it to the loss of that pass. Where gradients are disabled it
    is 0, since flows are then solved without costs.

    Args:
        model: ODE block, or network that contains some, with `Regularized` as gradient method.

    Raises:
        TypeError: if `model` is not a module.
        ValueError: if no flow has integrated costs.
    """
    if not isinstance(model, nn.Module):
        raise wrong_type("model", model, "a module")
    if not torch.is_grad_enabled():
        return torch.zeros(())
    found = [block.integrals for block in model.modules() if isinstance(block, ODEBlock) and block.integrals]
    if not found:
        raise ValueError(
            f"the penalty of a {type(model).__name__} was asked for, but none of its flows integrated costs in the "
            "last forward pass: set gradient=Regularized(Backprop(), [KineticEnergy()]), and solve with gradients "
            "enabled."
        )
    first, *rest = (integrals.penalty for integrals in found)
    return sum(rest, start=first)
