"""DeconvNet has the published sizes, one code for every window of the last map, and a mirror image for every layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from odenet.layers import BedOfNails, Bilinear, MaxUnpooling, Nearest, TransposeConvolution
from odenet.measure import count_parameters
from odenet.models import DeconvNet, deconvnet
from odenet.models.deconvnet import Shift, WindowCode, shifted_batch_norm
from odenet.training import WeightsError, load_weights, save_weights
from tests.network_cases import layers_to

STAGES = [(4, 4), (8, 6)]
UPSAMPLINGS = [Nearest, BedOfNails, MaxUnpooling, TransposeConvolution, Bilinear]


def small(**options: Any) -> DeconvNet:
    torch.manual_seed(0)
    return deconvnet(**({"num_classes": 3, "in_channels": 1, "stages": STAGES, "hidden": 16, "window": 3} | options))


def on_meta(**options: Any) -> DeconvNet:
    with torch.device("meta"):
        return deconvnet(**options)


# The paper


def test_the_net_of_the_paper_has_its_parameters():
    assert count_parameters(on_meta()) == 251_772_245 == sum(p.numel() for p in on_meta().parameters())
    assert count_parameters(on_meta(norm=Shift)) == 251_772_245
    assert count_parameters(on_meta(norm=nn.BatchNorm2d)) == 251_772_245 + 16_704


def test_the_net_of_the_paper_has_its_layers_each_but_the_last_with_a_batch_norm():
    net = on_meta()
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 13 + 2 + 1 + 13 + 1 == layers_to(net(torch.empty(2, 3, 32, 32, device="meta")))
    assert sum(isinstance(module, nn.BatchNorm2d) for module in net.modules()) == len(convolutions) - 1


def test_the_net_of_the_paper_makes_the_maps_of_its_figure():
    net, seen = on_meta(), []
    for part in [*net.down, net.code.fc6, net.code.fc7, net.code, *net.up]:
        part.register_forward_hook(lambda _module, _inputs, output: seen.append(tuple(output.shape[1:3])))
    assert net(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 21, 224, 224)
    down = [(64, 224), (128, 112), (256, 56), (512, 28), (512, 14)]
    up = [(512, 14), (256, 28), (128, 56), (64, 112), (64, 224)]
    assert seen == [*down, (4096, 1), (4096, 1), (512, 7), *up]


def test_the_channels_on_the_way_up_are_those_on_the_way_down_in_reverse():
    net = on_meta()
    parts = [part for stage in (*net.down, *net.up) for part in stage.children()]
    filters = [part for part in parts if isinstance(part, nn.Conv2d | TransposeConvolution)]
    down, up = filters[:13], filters[13:]
    assert [m.in_channels for m in reversed(down)][:-1] == [
        m.channels for m in up[:-1] if isinstance(m, TransposeConvolution)
    ]
    last = up[-1]
    assert isinstance(last, TransposeConvolution)
    assert last.channels == 64


# Sizes


@pytest.mark.parametrize("size", [(1, 1), (7, 513), (2, 3), (12, 12), (30, 20)], ids=str)
@pytest.mark.parametrize("in_channels", [1, 3, 5])
def test_an_image_of_any_size_gets_logits_for_each_pixel(size, in_channels):
    net = small(in_channels=in_channels).eval()
    assert net(torch.randn(2, in_channels, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("make", UPSAMPLINGS)
@pytest.mark.parametrize("norm", [shifted_batch_norm, nn.BatchNorm2d, Shift])
def test_any_upsampling_and_norm_serve_and_learn(make, norm):
    net = small(upsampling=make, norm=norm)
    y = net(torch.randn(2, 1, 13, 9))
    assert y.shape == (2, 3, 13, 9)
    y.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_it_compiles_into_one_graph():
    net, x = small().eval(), torch.randn(1, 1, 9, 7)
    assert torch.equal(torch.compile(net, fullgraph=True, backend="eager")(x), net(x))


# The code


def test_on_a_map_of_one_window_the_code_is_three_linear_layers():
    torch.manual_seed(0)
    code, x = WindowCode(5, 7, 3, Shift).double(), torch.randn(2, 5, 3, 3).double()
    hidden = torch.relu(x.flatten(1) @ code.fc6.get_parameter("0.weight").flatten(1).T)
    hidden = torch.relu(hidden @ code.fc7.get_parameter("0.weight").flatten(1).T)
    y = torch.relu(hidden @ code.deconv.filter.weight.flatten(1)).view(2, 5, 3, 3)
    assert torch.allclose(code(x), y, atol=1e-12)
    assert y.any()


def test_on_a_larger_map_each_pixel_is_the_mean_over_the_windows_around_it():
    torch.manual_seed(0)
    code, x = WindowCode(2, 6, 3, Shift).double(), torch.randn(1, 2, 5, 4).double()
    total, count = torch.zeros_like(x), torch.zeros_like(x)
    for row in range(3):
        for column in range(2):
            window = (..., slice(row, row + 3), slice(column, column + 3))
            total[window] += code.deconv(code.fc7(code.fc6(x[window])))
            count[window] += 1
    assert torch.allclose(code(x), torch.relu(total / count), atol=1e-12)


def test_a_map_smaller_than_a_window_is_coded_among_zeros():
    torch.manual_seed(0)
    code, x = WindowCode(2, 6, 3, Shift).double(), torch.randn(1, 2, 1, 2).double()
    torch.testing.assert_close(code(x), code(F.pad(x, (0, 1, 1, 1)))[:, :, 1:2, :2], rtol=1e-12, atol=1e-14)


def test_nan_pixels_spoil_the_logits_that_see_them_and_no_others():
    net, x = small(stages=[(4,)], norm=Shift), torch.randn(1, 1, 40, 40)
    clean = net(x)
    x[0, 0, 3, 3] = torch.nan
    spoilt = net(x)
    assert spoilt[0, :, 3, 3].isnan().all()
    assert torch.equal(spoilt[:, :, 24:], clean[:, :, 24:])


# The norm


def test_a_shifted_batch_norm_is_batch_norm_without_its_scale():
    norm, theirs, x = shifted_batch_norm(3), nn.BatchNorm2d(3), torch.randn(4, 3, 5, 5)
    shift = norm.get_parameter("shift.bias")
    nn.init.normal_(shift)
    theirs.bias = shift
    assert torch.allclose(norm(x), theirs(x), atol=1e-6)
    assert count_parameters(norm) == 3


def test_weights_begin_with_variance_2_over_fan_in():
    filters = small(stages=[(64, 64)]).down[0].get_submodule("3")
    assert isinstance(filters, nn.Conv2d)
    assert filters.weight.var().item() == pytest.approx(2 / (9 * 64), rel=0.05)


# Refusals


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"num_classes": 0}, "num_classes must be a whole number of at least 1, got 0"),
        ({"in_channels": 1.0}, "in_channels must be a whole number.*, got 1.0"),
        ({"hidden": 0}, "hidden must be a whole number of at least 1, got 0"),
        ({"window": -1}, "window must be a whole number of at least 1, got -1"),
        ({"stages": []}, r"stages must be a sequence of at least one value, got \[\]"),
        ({"stages": [(4,), ()]}, r"stages\[1\] must be a sequence of at least one value, got \(\)"),
        ({"stages": [(4, 0)]}, r"stages\[0\]\[1\] must be a whole number of at least 1, got 0"),
    ],
    ids=str,
)
def test_nets_that_cannot_be_are_refused(options, complaint):
    with pytest.raises((TypeError, ValueError), match=complaint):
        small(**options)


@pytest.mark.parametrize("norm", [shifted_batch_norm, nn.BatchNorm2d])
def test_a_single_code_in_training_is_refused_with_batch_norm_alone(norm):
    x = torch.randn(1, 1, 12, 12)
    with pytest.raises(ValueError, match=r"one window of 3×3 pixels; a single code has no variance .* norm=group_norm"):
        small(norm=norm)(x)
    assert small(norm=norm)(torch.randn(1, 1, 12, 16)).shape == (1, 3, 12, 16)
    assert small(norm=norm).eval()(x).shape == small(norm=Shift)(x).shape == (1, 3, 12, 12)


def test_weights_for_another_number_of_classes_are_refused_by_name_and_shape(tmp_path):
    save_weights(small(num_classes=5), tmp_path / "weights")
    with pytest.raises(WeightsError, match=r"'head.weight', \(5, 4, 1, 1\) instead of \(3, 4, 1, 1\)"):
        load_weights(small(), tmp_path / "weights")


def test_images_of_another_number_of_channels_are_refused():
    with pytest.raises(ValueError, match=r"DeconvNet was given a tensor of shape \(1, 3, 8, 8\); .* in_channels=3"):
        small()(torch.zeros(1, 3, 8, 8))
