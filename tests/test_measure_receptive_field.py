"""Receptive fields have the published sizes, and a cut through the image changes outputs only within the reach."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

from odenet import FixedSteps, configure, group_norm
from odenet.measure import Reach, reach, receptive_field
from odenet.models import (
    alexnet,
    alexnet_towers,
    backbone_of,
    deconvnet,
    fcn,
    fcn8s,
    googlenet,
    plain_backbone,
    unet,
    vgg16,
)
from odenet.models.resnet import residual_flow


def thinned(stages: Iterable[nn.Module]) -> nn.Sequential:
    """Build the same layers with one filter in each convolution, which have the same receptive field."""
    net = nn.Sequential(*stages)
    for module in list(net.modules()):
        for name, layer in module.named_children():
            if isinstance(layer, nn.Conv2d):
                side, stride, padding = layer.kernel_size[0], layer.stride[0], layer.padding[0]
                setattr(module, name, nn.LazyConv2d(1, side, stride, int(padding), device="cpu"))
    return net.eval()


@pytest.mark.parametrize(
    ("make", "size"), [(alexnet, 355), (alexnet_towers, 355), (vgg16, 404), (lambda: googlenet(auxiliary=None), 907)]
)
def test_a_pixel_of_the_coarsest_map_sees_what_the_paper_says(make, size):
    with torch.device("meta"):
        backbone = backbone_of(make())
    net, shape = thinned(backbone.stages), (3, size + 120, 227)
    middle = net(torch.zeros(1, *shape)).shape[2] // 2
    assert len(receptive_field(net, shape, middle)) == size
    assert backbone.grids[-1].stride == 32


def test_the_means_of_googlenet_add_six_strides_to_its_field():
    with torch.device("meta"):
        *stages, last = backbone_of(googlenet(auxiliary=None)).stages
    assert isinstance(last, nn.Sequential)
    net, shape = thinned([*stages, *last[:-2]]), (3, 800, 32)  # without means and dropout
    net(torch.zeros(1, *shape))
    assert len(receptive_field(net, shape, 12)) == 715 == 907 - 6 * 32


def test_a_row_that_the_output_does_not_have_is_refused_with_those_it_has():
    with pytest.raises(ValueError, match=r"row = 8; the output .*\(1, 10, 4\) has 8 rows: pass a row from 0 to 7"):
        receptive_field(nn.Conv2d(1, 1, 3), (1, 10, 4), 8)


def test_the_fields_of_neighbours_are_a_stride_apart():
    net = nn.Sequential(nn.Conv2d(1, 1, 11, 4), nn.MaxPool2d(3, 2), nn.Conv2d(1, 1, 5, padding=2))
    fields = [receptive_field(net, (1, 120, 20), row) for row in (5, 6)]
    assert fields[1].start - fields[0].start == fields[1].stop - fields[0].stop == 8


def test_the_field_is_what_the_derivative_says():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 5, padding=2), nn.AvgPool2d(2), nn.Conv2d(4, 1, 3, padding=1)).double()
    x = torch.randn(1, 1, 40, 6, dtype=torch.float64, requires_grad=True)
    net(x)[:, :, 9].sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert receptive_field(net, (1, 40, 6), 9) == range(int(seen[0]), int(seen[-1]) + 1)


def test_a_flow_sees_farther_with_every_evaluation():
    net = fcn(2, 1, width=2, blocks=3)
    sizes = [len(receptive_field(net, (1, 64, 3), 32))]
    with configure(net, stepping=FixedSteps("midpoint", per_piece=2)):
        sizes.append(len(receptive_field(net, (1, 64, 3), 32)))
    assert sizes == [1 + 2 * 7, 1 + 2 * 25]


@pytest.mark.parametrize(
    ("net", "stride"),
    [
        (fcn(2, 1, width=2, blocks=2), 1),
        (unet(2, 1, widths=(2, 2, 2), borders="mirrored"), 4),
        (unet(2, 1, widths=(2, 2, 2), flow=residual_flow), 4),
        (deconvnet(2, 1, stages=[(2,), (2,), (2,)], hidden=2, window=3), 8),
        (fcn8s(2, 1, backbone=plain_backbone([(2,)] * 5, 1)), 32),
    ],
)
def test_a_network_repeats_itself_after_its_stride(net, stride):
    assert reach(net, 1).stride == stride


def test_beyond_its_reach_a_cut_changes_nothing_and_within_it_does():
    torch.manual_seed(0)
    net = unet(2, 1, widths=(3, 4, 5)).double().eval()
    found = reach(net, 1)
    x = torch.randn(1, 1, 96, 20, dtype=torch.float64)
    with torch.no_grad():
        whole, above, below = net(x), net(x[:, :, :48]), net(x[:, :, 48:])
    same_below = (below - whole[:, :, 48:]).abs().amax(dim=(0, 1, 3)) < 1e-12
    same_above = (above - whole[:, :, :48]).abs().amax(dim=(0, 1, 3)) < 1e-12
    assert same_below.tolist() == [row >= found.before for row in range(48)]
    assert same_above.tolist() == [row < 48 - found.after for row in range(48)]


def test_convolutions_alone_reach_as_far_to_both_sides():
    assert reach(nn.Conv2d(1, 1, 7, padding=3), 1) == Reach(1, 3, 3)


def test_of_two_axes_the_farther_one_counts():
    assert reach(nn.Conv2d(1, 1, (3, 9), padding=(1, 4)), 1) == Reach(1, 4, 4)


def test_a_net_is_in_its_mode_afterwards():
    net = fcn(2, 1, width=2, blocks=1)
    reach(net, 1)
    assert all(module.training for module in net.modules())


def test_a_norm_of_the_whole_image_is_refused():
    with pytest.raises(ValueError, match=r"FullResolution has outputs .* on the whole image.*use BatchNorm"):
        reach(fcn(2, 1, width=2, blocks=1, norm=group_norm), 1)


def test_a_stride_that_is_not_found_is_asked_for():
    class Mirror(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x.flip(2).isnan(), 0.0, x)

    with pytest.raises(ValueError, match="the stride of Mirror was to be found, but no shift of the image"):
        reach(Mirror(), 1)
