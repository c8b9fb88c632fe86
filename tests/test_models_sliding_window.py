"""Sliding window, shift-and-stitch and à trous compute the same logits, at different costs."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from odenet.measure import count_multiply_adds, receptive_field
from odenet.models import (
    FCN,
    DenseClassifier,
    PatchClassifier,
    SlidingWindow,
    a_trous,
    patch_backbone,
    shift_and_stitch,
)

FORMS = [
    {"stages": [(3, 4), (5,)], "side": 3, "pool": 2, "hidden": 6, "last": 3},
    {"stages": [(3,), (4,)], "side": 3, "pool": 3, "hidden": 5, "last": 3},
    {"stages": [(3,)], "side": 2, "pool": 2, "hidden": 4, "last": 1},
    {"stages": [], "side": 1, "pool": 1, "hidden": 4, "last": 5},
]


def classifier(form: dict, in_channels: int = 2) -> PatchClassifier:
    torch.manual_seed(0)
    return PatchClassifier(3, in_channels, **form).double()


@pytest.mark.parametrize("form", FORMS)
def test_a_patch_of_the_stated_size_leaves_one_pixel_and_none_smaller_does(form):
    net = classifier(form)
    assert net.scores(torch.zeros(1, 2, net.patch, net.patch).double()).shape == (1, 3, 1, 1)
    assert len(receptive_field(net.features, (2, net.patch + net.stride, net.patch), 0)) == net.patch
    assert net.scores(torch.zeros(1, 2, net.patch + net.stride, net.patch).double()).shape == (1, 3, 2, 1)


@pytest.mark.parametrize("size", [(1, 1), (7, 30), (11, 16)])
@pytest.mark.parametrize("form", FORMS)
def test_the_three_ways_give_the_same_logits_at_every_pixel(form, size):
    net = classifier(form)
    x = torch.randn(2, 2, *size, dtype=torch.float64)
    with torch.no_grad():
        slid, dense, stitched = SlidingWindow(net, patches=50)(x), DenseClassifier(net)(x), shift_and_stitch(net, x)
    assert slid.shape == (2, 3, *size)
    if size != (1, 1):
        assert slid.std() > 1e-3
    torch.testing.assert_close(dense, slid, rtol=0, atol=1e-12)
    torch.testing.assert_close(stitched, slid, rtol=0, atol=1e-12)


def test_in_single_precision_they_agree_to_1e_5():
    torch.manual_seed(0)
    net = PatchClassifier(5)
    x = torch.randn(1, 3, 20, 24)
    with torch.no_grad():
        slid, dense = SlidingWindow(net)(x), DenseClassifier(net)(x)
    assert slid.std() > 1e-3
    assert (slid - dense).abs().max() < 1e-5


def test_the_logits_of_a_pixel_are_the_classifiers_of_the_patch_around_it():
    net = classifier(FORMS[0])
    half = net.patch // 2
    x = torch.randn(1, 2, 2 * net.patch, 2 * net.patch, dtype=torch.float64)
    row, column = net.patch - 3, net.patch + 4
    patch = x[:, :, row - half : row - half + net.patch, column - half : column - half + net.patch]
    torch.testing.assert_close(DenseClassifier(net)(x)[:, :, row, column], net(patch), rtol=0, atol=1e-12)


def test_how_many_patches_go_together_does_not_matter():
    net = classifier(FORMS[1])
    x = torch.randn(2, 2, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(SlidingWindow(net, patches=1)(x), SlidingWindow(net, patches=60)(x), rtol=0, atol=1e-12)


def test_down_and_up_again_the_logits_are_right_where_they_are_computed():
    # With patches of odd size, every pixel of the coarse map has a pixel of the image at its centre.
    net = classifier(FORMS[1])
    assert net.patch % 2 == 1
    down_up = FCN(patch_backbone(net), 3).double()
    down_up.scores[0].load_state_dict(net.score.state_dict())
    x = torch.randn(1, 2, 40, 50, dtype=torch.float64)
    with torch.no_grad():
        everywhere, interpolated = DenseClassifier(net)(x), down_up(x)
    assert interpolated.shape == everywhere.shape
    first = net.patch // 2 - down_up.padding
    here = slice(first, -net.patch, net.stride)
    torch.testing.assert_close(interpolated[:, :, here, here], everywhere[:, :, here, here], rtol=0, atol=1e-12)
    assert not torch.allclose(interpolated, everywhere)


def test_what_is_trained_is_one_set_of_weights():
    net = classifier(FORMS[0])
    assert {p.data_ptr() for p in DenseClassifier(net).parameters()} == {p.data_ptr() for p in net.parameters()}
    assert len(list(DenseClassifier(net).parameters())) == len(list(net.parameters()))


def test_overlapping_patches_repeat_nearly_everything():
    with torch.device("meta"):
        net, image = PatchClassifier(5), torch.empty(1, 3, 128, 128)
        patch = count_multiply_adds(net, torch.empty(1, 3, 56, 56))
        assert count_multiply_adds(SlidingWindow(net), image) == 128 * 128 * patch
        assert 128 * 128 * patch / count_multiply_adds(DenseClassifier(net), image) > 100


def test_farabets_net_looks_at_46_pixels():
    assert PatchClassifier(9, stages=[(16,), (64,)], side=7, hidden=256, last=7).patch == 46


def test_patches_of_another_size_are_refused_with_both():
    net = classifier(FORMS[0])
    with pytest.raises(
        ValueError, match=re.escape(f"shape (1, 2, 9, 9); its layers leave one pixel of (n, 2, {net.patch}")
    ):
        net(torch.zeros(1, 2, 9, 9))


@pytest.mark.parametrize("form", [SlidingWindow, DenseClassifier])
def test_images_of_other_channels_are_refused(form):
    with pytest.raises(
        ValueError, match=rf"{form.__name__} was given a tensor of shape \(1, 1, 4, 4\); it takes \(batch, 2"
    ):
        form(classifier(FORMS[0]))(torch.zeros(1, 1, 4, 4))


def test_shifted_images_of_other_channels_are_refused():
    with pytest.raises(
        ValueError, match=r"PatchClassifier was given a tensor of shape \(1, 1, 4, 4\); .*in_channels=1"
    ):
        shift_and_stitch(classifier(FORMS[0]), torch.zeros(1, 1, 4, 4))


@pytest.mark.parametrize(
    "ask", [lambda c, x: SlidingWindow(c)(x), lambda c, x: DenseClassifier(c)(x), shift_and_stitch]
)
def test_no_images_have_no_logits(ask):
    assert ask(classifier(FORMS[0]), torch.zeros(0, 2, 5, 6).double()).shape == (0, 3, 5, 6)


def test_a_nan_pixel_spoils_the_logits_of_the_patches_that_it_lies_in_and_no_others():
    net, x = classifier(FORMS[0]), torch.randn(1, 2, 40, 30).double()
    clean = SlidingWindow(net)(x)
    x[0, 1, 20, 10] = torch.nan
    for spoilt in (SlidingWindow(net)(x), shift_and_stitch(net, x)):
        assert spoilt[0, :, 20, 10].isnan().all()
        rows, columns = (torch.arange(n) for n in (40, 30))
        far = ((rows - 20).abs() > net.patch // 2)[:, None] | ((columns - 10).abs() > net.patch // 2)
        torch.testing.assert_close(spoilt[:, :, far], clean[:, :, far], rtol=0, atol=1e-12)


def test_counts_that_are_none_are_refused():
    with pytest.raises(ValueError, match="patches must be a whole number of at least 1, got 0"):
        SlidingWindow(classifier(FORMS[0]), patches=0)
    with pytest.raises(ValueError, match=r"stages\[0\]\[1\] must be a whole number of at least 1, got 0"):
        PatchClassifier(3, stages=[(4, 0)])
    with pytest.raises(ValueError, match="hidden must be a whole number of at least 1, got -1"):
        PatchClassifier(3, hidden=-1)


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(1, 1, 3, padding=1), nn.AvgPool2d(2), nn.MaxPool2d(3, 2, padding=1), nn.Conv2d(2, 2, 3, groups=2)],
)
def test_layers_that_cannot_lose_their_stride_are_refused(layer):
    with pytest.raises(TypeError, match="was to lose its stride; only unpadded convolutions"):
        a_trous([layer])
