"""The size of a network: layers, parameters, and evaluations of its vector fields."""

from __future__ import annotations

from torch import nn

from odenet.blocks.block import ODEBlock


def count_parameters(model: nn.Module) -> int:
    """Number of trainable scalars; a parameter that several modules share counts once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def count_layers(model: nn.Module) -> int:
    """Number of layers with weights as the field counts them: convolutions larger than 1×1, and linear layers.

    The projections of shortcuts and 1×1 bottlenecks inside a branch differ in this: the former are 1×1 convolutions off
    the main path, so for bottleneck nets this count is not the number in their name.

    >>> from odenet.models import resnet20
    >>> count_layers(resnet20())
    20
    """
    convolutions = (m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1))
    linears = (m for m in model.modules() if isinstance(m, nn.Linear))
    return sum(1 for _ in convolutions) + sum(1 for _ in linears)


def count_evaluations(model: nn.Module) -> int:
    """Evaluations of F over all ODE blocks in the last forward pass."""
    return sum(module.evaluations for module in model.modules() if isinstance(module, ODEBlock))
