"""Size of a network: numbers of layers, of parameters, and of evaluations of its vector fields."""

from __future__ import annotations

from torch import nn

from odenet.blocks.arguments import checked
from odenet.blocks.block import ODEBlock
from odenet.models.resnet import Transition


@checked
def count_parameters(model: nn.Module) -> int:
    """Count trainable scalars; a parameter that several modules share counts once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@checked
def count_layers(model: nn.Module) -> int:
    """Count convolutions and linear layers without the projections of shortcuts, the number in a ResNet's name.

    >>> from odenet.models import resnet20, resnet50
    >>> count_layers(resnet20()), count_layers(resnet50())
    (20, 50)
    """
    shortcuts = [m.shortcut for m in model.modules() if isinstance(m, Transition) and m.shortcut is not None]
    projections = {part for shortcut in shortcuts for part in shortcut.modules()}
    return sum(isinstance(m, nn.Conv2d | nn.Linear) and m not in projections for m in model.modules())


@checked
def count_evaluations(model: nn.Module) -> int:
    """Count evaluations of F in the last forward pass, summed over all ODE blocks."""
    return sum(module.evaluations for module in model.modules() if isinstance(module, ODEBlock))
