"""ResNeXt and wide ResNets have the published parameters, multiply-adds and groups."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from odenet.models import (
    ResNet,
    resnext50_32x4d,
    resnext101_32x8d,
    resnext101_64x4d,
    wide_resnet50_2,
    wide_resnet101_2,
)
from tests.network_cases import multiply_adds

PUBLISHED: dict[Callable[..., ResNet], tuple[int, float, int, int]] = {
    resnext50_32x4d: (25_028_904, 4.230, 32, 128),
    resnext101_32x8d: (88_791_336, 16.414, 32, 256),
    resnext101_64x4d: (83_455_272, 15.460, 64, 256),
    wide_resnet50_2: (68_883_240, 11.398, 1, 128),
    wide_resnet101_2: (126_886_696, 22.753, 1, 128),
}
"""Parameters, billions of multiply-adds at 224×224 as torchvision states them, groups and width of the first 3×3.

Groups and widths are from Xie et al. 2017, table 1.
"""


@pytest.mark.parametrize("make", PUBLISHED, ids=lambda make: make.__name__)
def test_parameters_multiply_adds_and_groups_are_the_published_ones(make: Callable[..., ResNet]) -> None:
    parameters, operations, groups, width = PUBLISHED[make]
    with torch.device("meta"):
        net = make()
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert multiply_adds(net, 1, 3, 224, 224) / 1e9 == pytest.approx(operations, abs=0.0006)
    conv = net.get_submodule("stages.0.flow.theta.nodes.0.conv2")
    assert isinstance(conv, nn.Conv2d)
    assert (conv.groups, conv.out_channels) == (groups, width)


def test_classes_and_channels_are_those_asked_for() -> None:
    with torch.device("meta"):
        net = resnext50_32x4d(num_classes=7, in_channels=1)
        assert net(torch.empty(2, 1, 64, 64)).shape == (2, 7)
