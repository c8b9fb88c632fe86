"""What tests of networks count (multiply-adds as torch sees them, depth along the graph); weights for two nets."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from odenet.measure import count_multiply_adds

LAYERS = ("ConvolutionBackward0", "AddmmBackward0")
"""The operations of convolutions and linear layers in a graph of autograd."""


def multiply_adds(net: nn.Module, *shape: int) -> int:
    """Of one evaluation on a tensor of this shape, on the meta device, which computes nothing."""
    return count_multiply_adds(net.to("meta"), torch.empty(shape, device="meta"))


def layers_to(output: Tensor) -> int:
    """Convolutions and linear layers on the longest path of the graph that ends in `output`."""

    @cache
    def longest(node: Any) -> int:
        before = [longest(earlier) for earlier, _ in node.next_functions if earlier is not None]
        return (node.name() in LAYERS) + max(before, default=0)

    return longest(output.grad_fn)


def share_random_weights(ours: nn.Module, theirs: nn.Module) -> None:
    """Give two nets on the meta device the same weights under the same names, of variance 2/fan-in, small biases."""
    state = {name: _random(value.shape) for name, value in theirs.state_dict().items()}
    for net in (ours, theirs):
        net.load_state_dict(state, assign=True)


def _random(shape: torch.Size) -> Tensor:
    bound = (6 / shape[1:].numel()) ** 0.5 if len(shape) > 1 else 0.1
    # The same numbers again and again, for speed; a prime number of them, so that no two rows begin alike.
    numbers = torch.empty(10_007).uniform_(-bound, bound)
    return numbers.repeat(shape.numel() // len(numbers) + 1)[: shape.numel()].view(shape)
