"""Painted scenes agree with a reference that is painted pixel by pixel in plain Python."""

from __future__ import annotations

import math

import torch

from odenet.data.scenes.layers import NUMBERS_OF_GROUND as OF_GROUND
from odenet.data.scenes.layers import Ground, Layers, numbers_of_layer, place_ground, place_layers
from odenet.data.scenes.painting import PERIOD, TEXTURES, paint_codes, paint_images
from odenet.data.scenes.silhouettes import silhouettes

N, L, SIZE = 6, 3, (23, 31)
TEMPLATES = silhouettes(32)


def placed() -> tuple[Ground, Layers]:
    """Place six scenes; the second layer of each is not present."""
    u = torch.rand(N, L * numbers_of_layer(TEMPLATES) + OF_GROUND, generator=torch.Generator().manual_seed(2))
    present = torch.tensor([True, False, True]).expand(N, L)
    of_layers = u[:, OF_GROUND:].unflatten(1, (L, -1))
    layers = place_layers(of_layers, torch.tensor([True, True, True]), present, TEMPLATES, SIZE)
    return place_ground(u[:, :OF_GROUND], TEXTURES, PERIOD, SIZE), layers


def code_at(scene: int, x: int, y: int, layers: Layers) -> int:
    """Return the code 2 + l·P + part - 1 of the front-most layer l at a pixel; -1 for the ground."""
    for k in reversed(range(L)):
        if not bool(layers.present[scene, k]):
            continue
        template = int(layers.template[scene, k])
        offset = torch.tensor([float(x), float(y)]) - layers.centre[scene, k]
        u, v = (layers.matrix[scene, k].double() @ offset.double() + TEMPLATES.anchors[template] + 0.5).tolist()
        column, row = math.floor(u), math.floor(v)
        inside = 0 <= column < TEMPLATES.side and 0 <= row < TEMPLATES.side
        if inside and (part := int(TEMPLATES.parts[template, row, column])):
            return 2 + k * TEMPLATES.part_count + part - 1
    return -1


def test_a_pixel_shows_the_front_most_layer_that_covers_it() -> None:
    ground, layers = placed()
    codes = paint_codes(ground, layers, TEMPLATES, SIZE) >> 8
    wrong = 0
    for scene in range(N):
        for y in range(SIZE[0]):
            for x in range(SIZE[1]):
                expected, found = code_at(scene, x, y, layers), int(codes[scene, y, x])
                wrong += found != expected if expected >= 0 else found > 1
    # A pixel on the edge of a cell may fall on different sides of it in float64 and in float32.
    assert wrong <= 0.002 * N * SIZE[0] * SIZE[1]
    assert (codes > 1).float().mean() > 0.05


def test_the_pixel_of_the_anchor_shows_the_front_most_object() -> None:
    ground, layers = placed()
    codes = paint_codes(ground, layers, TEMPLATES, SIZE) >> 8
    x, y = layers.centre[:, L - 1].long().unbind(1)
    shown = codes[torch.arange(N), y, x]
    assert (shown >= 2 + (L - 1) * TEMPLATES.part_count).all()


def test_the_second_ground_begins_at_the_horizon() -> None:
    ground, layers = placed()
    absent = layers.present & False
    bare = Layers(layers.template, absent, layers.centre, layers.matrix, layers.colours)
    codes = paint_codes(ground, bare, TEMPLATES, SIZE) >> 8
    a, b, c = ground.horizon.double()[:, :, None, None].unbind(1)
    y, x = torch.meshgrid(*((torch.arange(length) + 0.5) / length for length in SIZE), indexing="ij")
    assert torch.equal(codes == 1, a * x + b * y > c)
    assert 0 < float((codes == 1).float().mean()) < 1


def test_a_colour_is_that_of_its_part_at_its_shade_in_the_light_up_to_the_grain() -> None:
    ground, layers = placed()
    seen = paint_codes(ground, layers, TEMPLATES, SIZE)
    images = paint_images(seen, ground, layers)
    code, shade = seen >> 8, (seen & 255) / 255
    y, x = torch.meshgrid(*((torch.arange(length) + 0.5) / length - 0.5 for length in SIZE), indexing="ij")
    for scene in range(N):
        colours = [
            torch.cat([g[scene], c[scene].flatten(0, 1)])
            for g, c in zip(
                (ground.colours.dark, ground.colours.light), (layers.colours.dark, layers.colours.light), strict=True
            )
        ]
        dark, light = (colour[code[scene].long()] for colour in colours)
        g, h = ground.light[scene]
        expected = torch.lerp(dark, light, shade[scene, ..., None]) * (1 + g * x + h * y)[..., None]
        error = (images[scene].permute(1, 2, 0) - expected.clamp(0, 255)).abs()
        assert float(error.max()) <= float(ground.grain[scene, 0]) + 1.01
