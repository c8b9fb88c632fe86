"""Networks with one flow of a chosen number of pieces and a chosen horizon."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn

from odenet import MLPBranch, ODEBlock, PiecewiseConstant, group_norm
from odenet.data import ImageData
from odenet.models import cifar_resnet

Net = Literal["mlp", "resnet"]


class ResidualMLP(nn.Module):
    """Images → linear stem → flow of MLP branches → linear head → logits of shape (batch, num_classes)."""

    def __init__(self, data: ImageData, width: int, pieces: int, horizon: float) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(data.train.image_shape), width))
        self.flow = ODEBlock(PiecewiseConstant([MLPBranch(width, width * 2) for _ in range(pieces)], horizon))
        self.head = nn.Linear(width, data.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits of images of shape (batch, channels, height, width)."""
        return self.head(self.flow(self.stem(x)))


def flow_net(net: Net, data: ImageData, width: int, pieces: int, horizon: float) -> nn.Module:
    """Build a residual MLP, or a pre-activation ResNet of one stage with GroupNorm.

    Args:
        net: Kind of network.
        data: Data set, for the number of pixels, channels and classes.
        width: Number of features or channels of the flow.
        pieces: Number of pieces of the flow, each with a step of length `horizon`/`pieces`.
        horizon: Length of the interval of depth-time.
    """
    if net == "mlp":
        return ResidualMLP(data, width, pieces, horizon)

    def flow(make_branch: Callable[[], nn.Module], _blocks: int, _projection: object) -> ODEBlock:
        return ODEBlock(PiecewiseConstant([make_branch() for _ in range(pieces)], horizon))

    options: dict[str, Any] = {"widths": (width,), "stem_stride": 2, "activation": "pre", "norm": group_norm}
    return cifar_resnet(1, data.num_classes, data.in_channels, flow=flow, **options)
