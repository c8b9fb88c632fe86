"""Worked examples of upsampling from the lecture, computed by the layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from odenet.layers import BedOfNails, MaxUnpooling, Nearest, TransposeConvolution


@torch.no_grad()
def examples() -> dict[str, Any]:
    """Compute inputs and outputs by name, and the contribution of each input pixel to the transpose convolution."""
    small = torch.tensor([[[[1.0, 2], [3, 4]]]])
    picture = torch.tensor([[[[1.0, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]]]])
    pooled, indices = F.max_pool2d(picture, 2, return_indices=True)
    transpose = TransposeConvolution(1, padding=0, bias=False, dimensions=1)
    transpose.filter.weight.copy_(torch.tensor([[[1.0, 10, 100]]]))
    sequence = torch.tensor([[[2.0, 3]]])
    overlap = TransposeConvolution(1, bias=False)
    nn.init.ones_(overlap.filter.weight)
    maps = {
        "small": small,
        "nearest": Nearest(1)(small),
        "bed of nails": BedOfNails(1)(small),
        "picture": picture,
        "pooled": pooled,
        "unpooled": MaxUnpooling(1)(small, (4, 4), indices),
        "filter": transpose.filter.weight,
        "sequence": sequence,
        "written": torch.cat([transpose(sequence * one) for one in torch.eye(2)[:, None, None]]),
        "transposed": transpose(sequence),
        "overlap": overlap(torch.ones(1, 1, 3, 3), (6, 6)),
    }
    return {name: values.squeeze().tolist() for name, values in maps.items()}
