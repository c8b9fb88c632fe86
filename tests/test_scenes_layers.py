"""Layers of scenes have the distributions of class, size, place, pose and colour that are documented."""

from __future__ import annotations

import torch

from odenet.data.scenes.layers import NUMBERS_OF_GROUND, Layers, numbers_of_layer, place_ground, place_layers
from odenet.data.scenes.silhouettes import silhouettes

SIZE = (40, 100)
IS_OBJECT = torch.tensor([True, False, True])


def layers(n: int = 2000) -> Layers:
    u = torch.rand(n, 3, numbers_of_layer(silhouettes()), generator=torch.Generator().manual_seed(0))
    return place_layers(u, IS_OBJECT, torch.ones(n, 3, dtype=torch.bool), silhouettes(), SIZE)


def test_objects_are_of_every_class_alike_and_clutter_of_none() -> None:
    classes = silhouettes().classes[layers().template]
    assert (classes[:, ~IS_OBJECT] == -1).all()
    counts = classes[:, IS_OBJECT].flatten().bincount(minlength=4)
    assert (counts - 1000).abs().max() < 4 * 27  # standard deviation √(4000·¼·¾)


def test_every_drawing_is_used() -> None:
    assert len(layers().template[:, IS_OBJECT].unique()) == 4 * 64


def test_anchors_lie_on_pixels_well_inside_of_the_image() -> None:
    centre = layers().centre
    assert torch.equal(centre, centre.round())
    assert 0.1 * 100 <= float(centre[..., 0].min()) <= float(centre[..., 0].max()) < 0.9 * 100
    assert 0.1 * 40 <= float(centre[..., 1].min()) <= float(centre[..., 1].max()) < 0.9 * 40


def test_objects_are_a_third_to_more_than_the_shorter_side_and_half_of_them_mirrored() -> None:
    determinant = torch.linalg.det(layers().matrix.double())
    span = silhouettes().side / determinant.abs().sqrt()
    assert 0.45 * 40 * 0.74 < float(span.min()) < float(span.max()) < 0.85 * 40 * 1.61
    assert 0.45 < float((determinant < 0).double().mean()) < 0.55


def test_a_thin_object_is_drawn_larger() -> None:
    drawn = layers()
    span = silhouettes().side / torch.linalg.det(drawn.matrix.double()).abs().sqrt()
    classes = silhouettes().classes[drawn.template]
    assert span[classes == 2].mean() > 1.5 * span[classes == 1].mean()


def test_dark_shades_are_parts_of_the_light_ones_within_the_contrast() -> None:
    colours = layers().colours
    share = (colours.dark / colours.light)[colours.light > 1]
    assert 0.6 - 1e-4 <= float(share.min()) <= float(share.max()) <= 0.95 + 1e-4
    assert 0 <= float(colours.light.min()) <= float(colours.light.max()) <= 255


def test_every_second_ground_has_a_horizon_in_the_image() -> None:
    u = torch.rand(1000, NUMBERS_OF_GROUND, generator=torch.Generator().manual_seed(0))
    ground = place_ground(u, textures=7, side=64, size=SIZE)
    a, b, c = ground.horizon.unbind(1)
    assert 0.45 < float((c > a.abs() + b).float().mean()) < 0.55
    assert ground.texture.unique().tolist() == list(range(7))
    assert float(ground.light.abs().max()) <= 0.25
