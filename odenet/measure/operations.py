"""Numbers of multiply-adds and operations of a forward pass, counted by torch's `FlopCounterMode`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from odenet.blocks.arguments import checked
from odenet.measure.mode import in_mode

OPERATIONS = 2
"""Number of operations in a multiply-add: one multiplication and one addition.

He et al. 2015 print multiply-adds and call them FLOPs; Canziani et al. 2016 print operations, twice as many.
"""


@checked
@torch.no_grad()
def count_multiply_adds(model: nn.Module, images: Tensor) -> int:
    """Count multiply-adds of model(images) in evaluation mode: Σ c·k²·n·h·w for convolutions, Σ m·n for linear layers.

    As usual, biases, norms, activations and poolings do not count. The count is of operators that torch really calls,
    so a vector field that a solver evaluates twice counts twice. On the meta device nothing is computed and no memory
    is used, so a VGG-19 is counted in milliseconds. A net whose solver depends on values (`Adaptive`) must be counted
    on real images, and the count is for these images.

    Args:
        model: network on the device of the images.
        images: images of shape (batch, channels, height, width); the count is for the whole batch.

    >>> from odenet.models import vgg19
    >>> with torch.device("meta"):
    ...     count_multiply_adds(vgg19(), torch.empty(1, 3, 224, 224))
    19632062464
    """
    counter = FlopCounterMode(display=False)
    with in_mode(model, training=False), counter:
        model(images)
    return counter.get_total_flops() // OPERATIONS


@checked
def count_operations(model: nn.Module, images: Tensor) -> int:
    """Count operations of model(images), two for each multiply-add, the unit of Canziani et al. 2016."""
    return OPERATIONS * count_multiply_adds(model, images)
