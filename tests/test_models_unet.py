"""U-Net has the published sizes, gives logits for every pixel of any image, and takes flows as stages."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from odenet import (
    RK4,
    Adaptive,
    Autonomous,
    BasicBranch,
    Constant,
    ContinuousAdjoint,
    FixedSteps,
    NonFiniteState,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    configure,
)
from odenet.layers import BedOfNails, Bilinear, MaxUnpooling, Nearest, TransposeConvolution
from odenet.measure import count_evaluations, count_parameters
from odenet.models import unet
from odenet.models.resnet import residual_flow
from odenet.models.unet import UNet, ValidSizes, mirrored
from odenet.training import WeightsError, load_weights, save_weights
from tests.network_cases import layers_to

SMALL = (4, 6, 8)


def small(**options: Any) -> UNet:
    torch.manual_seed(0)
    return unet(**({"num_classes": 3, "widths": SMALL} | options))


def on_meta(**options: Any) -> UNet:
    with torch.device("meta"):
        return unet(**options)


# The paper


def test_the_net_of_the_paper_has_its_parameters_and_23_convolutions():
    net = on_meta(borders="valid")
    assert count_parameters(net) == 31_030_658 == count_parameters(on_meta())
    assert sum(isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in net.modules()) == 23
    assert layers_to(net(torch.empty(1, 1, 188, 188, device="meta"))) == 23


def test_the_net_of_the_paper_makes_388_pixels_of_572_by_the_sizes_of_its_figure():
    net = on_meta(borders="valid")
    seen: list[int] = []
    for stage in [*net.down, *net.up]:
        stage.register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape[-1]))
    assert net(torch.empty(1, 1, 572, 572, device="meta")).shape == (1, 2, 388, 388)
    assert seen == [568, 280, 136, 64, 28, 52, 100, 196, 388]


@pytest.mark.parametrize(("width", "millions"), [(8, 0.4857), (16, 1.94), (32, 7.76)])
def test_narrower_nets_have_the_known_parameters(width, millions):
    net = on_meta(num_classes=4, widths=[width * 2**i for i in range(5)])
    assert count_parameters(net) / 1e6 == pytest.approx(millions, abs=0.005)


def test_weights_begin_with_variance_2_over_fan_in_and_without_biases():
    convolution = small(widths=(64, 64)).down[1].get_submodule("conv2")
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    assert convolution.weight.var().item() == pytest.approx(2 / (9 * 64), rel=0.05)
    assert not convolution.bias.any()


def test_the_logits_are_those_written_out_by_hand():
    net, x = small(widths=(2, 3), borders="valid"), torch.randn(2, 1, 22, 24)
    weights = iter(net.state_dict().values())

    def stage(x: Tensor) -> Tensor:
        for _ in range(2):
            x = F.relu(F.conv2d(x, next(weights), next(weights)))
        return x

    beside = stage(x)
    y = stage(F.max_pool2d(beside, 2))
    y = F.conv_transpose2d(y, next(weights), next(weights), stride=2)
    y = stage(torch.cat([beside[:, :, 4:-4, 4:-4], y], dim=1))
    assert torch.equal(net(x), F.conv2d(y, next(weights), next(weights)))
    assert next(weights, None) is None


# Sizes


@pytest.mark.parametrize("size", [(1, 1), (7, 513), (2, 3), (64, 48)], ids=str)
@pytest.mark.parametrize("borders", ["padded", "mirrored"])
@pytest.mark.parametrize("in_channels", [1, 3, 5])
def test_an_image_of_any_size_gets_logits_for_each_pixel(size, borders, in_channels):
    assert small(in_channels=in_channels, borders=borders)(torch.randn(2, in_channels, *size)).shape == (2, 3, *size)


UPSAMPLINGS = {
    "nearest": Nearest,
    "bed of nails": BedOfNails,
    "max unpooling": MaxUnpooling,
    "3×3": TransposeConvolution,
    "bilinear": Bilinear,
}


@pytest.mark.parametrize("make", UPSAMPLINGS.values(), ids=UPSAMPLINGS)
@pytest.mark.parametrize("norm", [None, nn.BatchNorm2d])
def test_any_upsampling_serves_on_images_of_any_size_and_learns(make, norm):
    net = small(upsampling=make, norm=norm)
    y = net(torch.randn(2, 1, 13, 9))
    assert y.shape == (2, 3, 13, 9)
    y.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)
    assert net.eval()(torch.randn(1, 1, 1, 1)).shape == (1, 3, 1, 1)


@pytest.mark.parametrize("make", [m for m in UPSAMPLINGS.values() if m is not MaxUnpooling])
def test_unpadded_nets_lose_the_same_margin_with_any_upsampling(make):
    assert small(upsampling=make, borders="valid")(torch.randn(1, 1, 48, 44)).shape == (1, 3, 8, 4)


@pytest.mark.parametrize("poolings", [0, 1, 2, 4])
@pytest.mark.parametrize("shrinkage", [2, 4, 6])
def test_valid_sizes_are_those_that_every_pooling_halves(poolings, shrinkage):
    def output(side: int) -> int | None:
        for _ in range(poolings):
            side -= shrinkage
            if side <= 0 or side % 2:
                return None
            side //= 2
        for _ in range(poolings):
            side = 2 * (side - shrinkage)
            if side <= 0:
                return None
        return side - shrinkage if side > shrinkage else None

    sizes = ValidSizes(poolings, shrinkage)
    valid = [side for side in range(1, 400) if output(side)]
    assert all(output(side) == side - sizes.margin for side in valid)
    assert [side for side in range(1, 400) if sizes.nearest(side) == (side,)] == valid
    for side in range(1, valid[-1]):
        near = sorted({max([v for v in valid if v <= side], default=None), min(v for v in valid if v >= side)} - {None})
        assert list(sizes.nearest(side)) == near


def test_the_valid_sizes_of_the_paper_are_188_and_on_in_steps_of_16():
    sizes = ValidSizes(poolings=4, shrinkage=4)
    assert [side for side in range(1, 237) if sizes.nearest(side) == (side,)] == [188, 204, 220, 236]
    assert sizes.nearest(1) == (188,)


def test_sizes_that_pooling_does_not_halve_are_refused_with_the_nearest_that_it_does():
    net = on_meta(borders="valid")
    with pytest.raises(ValueError, match=r"570×100 pixels; .* heights of 556 or 572 and widths of 188, .*'mirrored'"):
        net(torch.empty(1, 1, 570, 100, device="meta"))


def test_mirroring_gives_the_logits_of_the_unpadded_net_on_the_reflected_image():
    mirroring, valid = small(borders="mirrored"), small(borders="valid")
    valid.load_state_dict(mirroring.state_dict())
    x = torch.randn(1, 1, 41, 45)
    margin, rows, columns = valid.sizes.margin // 2, 44 - 41, 48 - 45
    around = F.pad(x, (margin, margin + columns, margin, margin + rows), mode="reflect")
    torch.testing.assert_close(
        mirroring(x), valid(around)[:, :, :41, :45]
    )  # equal up to rounding, because the convolutions have other sizes


def test_an_image_smaller_than_the_margin_is_mirrored_again_and_again():
    sizes = ValidSizes(poolings=0, shrinkage=10)
    x = torch.tensor([1.0, 2, 3]).view(1, 1, 1, 3)
    assert mirrored(x, sizes)[0, 0, 0].tolist() == [2, 1, 2, 3, 2, 1, 2, 3, 2, 1, 2, 3, 2]
    assert mirrored(x, sizes).shape == (1, 1, 11, 13)


def test_tiles_of_the_unpadded_net_fit_together():
    net, x = small(borders="valid").double(), torch.randn(1, 1, 60, 60).double()
    whole = net(x)
    tile = net(x[:, :, 8:56, 4:52])
    assert torch.allclose(tile, whole[:, :, 8 : 8 + tile.shape[2], 4 : 4 + tile.shape[3]], atol=1e-12)


def test_nan_pixels_spoil_the_logits_that_see_them_and_no_others():
    net, x = small(widths=(4, 4)), torch.randn(1, 1, 40, 40)
    clean = net(x)
    x[0, 0, 3, 3] = torch.nan
    spoilt = net(x)
    assert spoilt[0, :, 3, 3].isnan().all()
    assert torch.equal(spoilt[:, :, 16:], clean[:, :, 16:])


# Flows


def shared(make_branch: Callable[[], nn.Module], blocks: int, _projection: object) -> ODEBlock:
    return ODEBlock(Constant(make_branch(), horizon=blocks), FixedSteps(per_piece=blocks))


def linear(make_branch: Callable[[], nn.Module], blocks: int, _projection: object) -> ODEBlock:
    return ODEBlock(PiecewiseLinear([make_branch() for _ in range(blocks + 1)]))


@pytest.mark.parametrize("norm", [None, nn.BatchNorm2d])
@pytest.mark.parametrize("widths", [(64, 128, 256, 512, 1024), (8, 16, 32), (16,)])
def test_a_net_of_flows_has_no_more_parameters_than_the_ordinary_one(widths, norm):
    ordinary = count_parameters(on_meta(widths=widths, norm=norm))
    assert count_parameters(on_meta(widths=widths, norm=norm, flow=residual_flow)) == ordinary
    deep = on_meta(widths=widths, norm=norm, flow=shared, convolutions=5)
    assert count_parameters(deep) == ordinary


def test_every_stage_of_a_net_of_flows_is_a_flow():
    net = small(flow=residual_flow, convolutions=3)
    blocks = [module for module in net.modules() if isinstance(module, ODEBlock)]
    assert [block.label for block in blocks] == [
        *(f"block 'down.{i}.flow'" for i in range(3)),
        *(f"block 'up.{i}.flow'" for i in range(2)),
    ]
    assert [block.theta.number_of_pieces for block in blocks] == [2] * 5
    net(torch.randn(1, 1, 9, 9))
    assert count_evaluations(net) == 10


def test_a_stage_of_flows_is_a_convolution_and_residual_blocks():
    stage = small(flow=residual_flow, convolutions=3, norm=nn.BatchNorm2d).eval().down[1]
    x = torch.randn(2, 4, 6, 6)
    transition, flow = stage.get_submodule("transition"), stage.get_submodule("flow")
    norm, convolution = transition.get_submodule("norm"), transition.get_submodule("conv")
    y = convolution(torch.relu(norm(x)))
    assert torch.equal(transition(x), y)
    for node in (flow.get_submodule(f"theta.nodes.{i}.module") for i in range(2)):
        y = y + node.get_submodule("conv")(torch.relu(node.get_submodule("norm")(y)))
    assert torch.equal(stage(x), y)


def test_the_image_is_not_rectified_before_the_first_convolution_of_flows():
    net = small(flow=residual_flow)
    x = torch.randn(1, 1, 8, 8)
    assert not torch.equal(net(x), net(x.relu()))


@pytest.mark.parametrize("flow", [residual_flow, shared, linear])
@pytest.mark.parametrize(
    "settings",
    [
        {"stepping": FixedSteps(RK4(), per_piece=2)},
        {"stepping": Adaptive("dopri5", rtol=1e-3, atol=1e-3)},
        {"stepping": FixedSteps(RK4()), "gradient": ContinuousAdjoint()},
    ],
    ids=["rk4", "dopri5", "adjoint"],
)
def test_flows_of_any_theta_are_stepped_and_differentiated_in_any_way(flow, settings):
    net, x = small(flow=flow, convolutions=3), torch.randn(1, 1, 7, 5)
    before = net(x)
    with configure(net, **settings):
        y = net(x)
        y.square().mean().backward()
    assert y.shape == (1, 3, 7, 5)
    assert not torch.equal(y, before)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_a_branch_of_ones_own_takes_the_place_of_the_single_convolution():
    net = small(flow=residual_flow, branch=BasicBranch)
    nodes = [m.theta.nodes[0] for m in net.modules() if isinstance(m, ODEBlock)]
    assert all(isinstance(node, BasicBranch) for node in nodes)
    default = [m.theta.nodes[0] for m in small(flow=residual_flow).modules() if isinstance(m, ODEBlock)]
    assert all(isinstance(node, Autonomous) for node in default)


def test_nan_pixels_in_a_net_of_flows_are_reported_with_the_block():
    x = torch.randn(1, 1, 8, 8)
    x[0, 0, 0, 0] = torch.nan
    with pytest.raises(NonFiniteState, match=r"block 'down\.0\.flow'"):
        small(flow=residual_flow)(x)


@pytest.mark.parametrize("options", [{}, {"flow": residual_flow}, {"upsampling": MaxUnpooling}])
def test_it_compiles_into_one_graph(options):
    net, x = small(**options), torch.randn(1, 1, 9, 7)
    assert torch.equal(torch.compile(net, fullgraph=True, backend="eager")(x), net(x))


# Refusals


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"num_classes": 0}, "num_classes must be a whole number of at least 1, got 0"),
        ({"in_channels": 1.0}, "in_channels must be a whole number, got 1.0"),
        ({"convolutions": 0}, "convolutions must be a whole number of at least 1, got 0"),
        ({"widths": (4, 0)}, r"widths\[1\] must be a whole number of at least 1, got 0"),
        ({"widths": ()}, r"widths must be a sequence of at least one value, got \(\)"),
        ({"borders": "pading"}, "unknown borders 'pading'; did you mean 'padded'"),
        ({"flow": residual_flow, "borders": "valid"}, "flows with borders='valid' .* keeps the shape .*'padded'"),
        ({"flow": residual_flow, "convolutions": 1}, "flows with convolutions=1 .* pass 2 or more"),
        ({"branch": BasicBranch}, "without a flow; .* pass a flow"),
        (
            {"upsampling": MaxUnpooling, "borders": "mirrored"},
            "unpooling in a U-Net with borders='mirrored' .*'padded'",
        ),
    ],
)
def test_nets_that_cannot_be_are_refused(options, complaint):
    with pytest.raises((TypeError, ValueError), match=complaint):
        small(**options)


def test_weights_for_another_number_of_classes_are_refused_by_name_and_shape(tmp_path):
    save_weights(small(num_classes=5), tmp_path / "weights")
    with pytest.raises(WeightsError, match=r"'head.0.weight', \(5, 4, 1, 1\) instead of \(3, 4, 1, 1\)"):
        load_weights(small(), tmp_path / "weights")


def test_images_of_another_number_of_channels_are_refused():
    with pytest.raises(ValueError, match=r"UNet was given a tensor of shape \(1, 3, 8, 8\); .* in_channels=3"):
        small()(torch.zeros(1, 3, 8, 8))


def test_an_upsampling_that_needs_indices_may_be_made_by_any_function():
    net = small(upsampling=partial(MaxUnpooling))
    assert net(torch.randn(1, 1, 6, 6)).shape == (1, 3, 6, 6)


def test_the_nodes_of_a_stage_have_weights_of_their_own():
    net = small(flow=residual_flow, convolutions=3)
    block = next(m for m in net.modules() if isinstance(m, ODEBlock))
    assert isinstance(block.theta, PiecewiseConstant)
    first, second = (node.get_parameter("module.conv.weight") for node in block.theta.nodes)
    assert not torch.equal(first, second)
