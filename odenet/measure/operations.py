"""What a network computes: multiply-adds and operations of a forward pass, counted by torch's own `FlopCounterMode`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from odenet.blocks.arguments import checked
from odenet.measure.mode import in_mode

OPERATIONS = 2
"""Of a multiply-add: one multiplication and one addition. He et al. 2015 print multiply-adds and call them FLOPs,
Canziani et al. 2016 print operations; a factor of two stands between the two."""


@checked
@torch.no_grad()
def count_multiply_adds(model: nn.Module, images: Tensor) -> int:
    """Multiply-adds of model(images) in evaluation mode: Σ c·k²·n·h·w over convolutions, Σ m·n over linear layers.

    As is usual, biases, norms, activations and poolings do not count. What counts are the operators that torch really
    calls, so that a field that is evaluated twice counts twice, whatever solver asks for it. On the meta device nothing
    is computed and no memory taken, and a VGG-19 is counted in milliseconds; a net whose solver looks at the values
    (`Adaptive`) has to be counted on real images, and the count is that of these images.

    Args:
        model: on the device of the images.
        images: (batch, channels, height, width); the count is that of the whole batch.

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
    """Operations of model(images), each multiply-add counting two: the unit of Canziani et al. 2016."""
    return OPERATIONS * count_multiply_adds(model, images)
