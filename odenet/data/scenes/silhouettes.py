"""Silhouettes of horse, church, toothbrush and person (the classes of the lecture) in many poses, and clutter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
from torch import Tensor

from odenet.data.scenes.palettes import SPREAD, palette_table
from odenet.data.scenes.strokes import Canvas, Number, Point
from odenet.data.scenes.templates import Templates
from odenet.data.scenes.textures import texture_tiles
from odenet.data.seeds import seeded_generator

Numbers = Iterator[Tensor]
"""Endless random numbers, uniform in [0, 1), (n,) at a time: one number for each drawing."""

Drawing = Callable[[Canvas, Numbers], list[Tensor]]
"""Function that draws the parts of n objects, each (n, side, side); later parts cover earlier ones."""

VARIANTS = 64
"""Number of drawings of each class."""


@lru_cache(maxsize=4)
def silhouettes(side: int = 64) -> Templates:
    """Draw 64 silhouettes of each class and 64 of clutter, in random poses and proportions, each part with a texture.

    Args:
        side: Number of cells along an edge.
    """
    generator = seeded_generator(0, "silhouettes")
    parts = torch.cat([_parts(drawing, side, generator) for drawing in (clutter, *CLASSES.values())])
    classes = torch.arange(-1, len(CLASSES)).repeat_interleave(VARIANTS)
    shades = texture_tiles(len(parts), side, generator)
    return Templates(parts, shades, classes, tuple(CLASSES), palette_table(tuple(CLASSES)), SPREAD, (0.05, 0.4))


def horse(canvas: Canvas, u: Numbers) -> list[Tensor]:
    """Draw horses that look right, with walking legs and heads that graze or are raised."""
    body, raised, bend, length = _uniform(0.19, 0.25, u), _uniform(-0.5, 1.1, u), _uniform(1.2, 1.9, u), 0.52
    withers = (0.3, -0.1)
    poll = _away(withers, length, raised)
    nose = _away(poll, 0.3, raised - bend)
    ear = _away(poll, 0.17, raised + 0.6)
    legs = [
        _leg(canvas, (x, 0.05), 0.42, _uniform(-0.45, 0.45, u), _uniform(-0.5, 0.3, u), (0.1, 0.055, 0.04))
        for x in (-0.45, -0.32, 0.22, 0.33)
    ]
    trunk = canvas.stroke([(-0.38, -0.08), (0.0, -0.02), (0.3, -0.07)], [body, body - 0.03, body])
    neck = canvas.stroke([withers, poll], [0.17, 0.09])
    head = canvas.stroke([poll, nose], [0.1, 0.06])
    tail_end = _uniform(-0.95, -0.75, u)
    tail = canvas.stroke([(-0.56, -0.15), (-0.72, 0.0), (tail_end, 0.4)], [0.04, 0.07, 0.03])
    mane = canvas.stroke([_away(withers, 0.17, raised + 1.5), _away(poll, 0.07, raised + 1.5)], [0.04, 0.06])
    whole = canvas.union(*legs, trunk, neck, head, canvas.stroke([poll, ear], [0.05, 0.02]))
    return [tail, whole, mane]


def church(canvas: Canvas, u: Numbers) -> list[Tensor]:
    """Draw churches: a nave with windows, and a tower with a spire and a cross."""
    left, width = _uniform(-0.85, -0.6, u), _uniform(0.3, 0.45, u)
    right, eaves, belfry = _uniform(0.55, 0.92, u), _uniform(0.05, 0.3, u), _uniform(-0.35, 0.0, u)
    ridge, top, middle = eaves - _uniform(0.25, 0.45, u), belfry - _uniform(0.3, 0.5, u), left + width / 2
    tower = canvas.box(left, belfry, left + width, 0.92)
    nave = canvas.box(left + width, eaves, right, 0.92)
    roof = canvas.polygon((left + width, ridge), (right - 0.12, ridge), (right + 0.06, eaves), (left + width, eaves))
    spire = canvas.polygon((middle, top), (left + width + 0.05, belfry), (left - 0.05, belfry))
    cross = canvas.stroke([(middle, top - 0.16), (middle, top)], [0.035, 0.035])
    arms = canvas.stroke([(middle - 0.08, top - 0.09), (middle + 0.08, top - 0.09)], [0.03, 0.03])
    door = canvas.stroke([(middle, 0.66), (middle, 0.9)], [0.09, 0.09])
    bell = canvas.stroke([(middle, belfry + 0.12), (middle, belfry + 0.22)], [0.06, 0.06])
    space, high = (right - left - width) / 3, eaves + 0.2
    windows = []
    for k in range(3):
        x, radius = left + width + space * (k + 0.5), _uniform(0.04, 0.07, u)
        windows.append(canvas.stroke([(x, high), (x, 0.7)], [radius, radius]))
    return [canvas.union(tower, nave), canvas.union(roof, spire, cross, arms), canvas.union(door, bell, *windows)]


def toothbrush(canvas: Canvas, u: Numbers) -> list[Tensor]:
    """Draw toothbrushes at any angle: a handle, a thin neck and tufts of bristles across it."""
    turn, width = _uniform(0.0, 6.2832, u), _uniform(0.08, 0.12, u)
    bend, tall, neck = _uniform(-0.08, 0.08, u), _uniform(0.2, 0.3, u), _uniform(0.04, 0.06, u)

    def at(along: Number, across: Number) -> Point:
        return along * turn.cos() - across * turn.sin(), along * turn.sin() + across * turn.cos()

    handle = canvas.stroke([at(-0.88, bend), at(-0.3, 0.0), at(0.15, 0.0)], [width * 0.8, width, width * 0.7])
    shaft = canvas.stroke([at(0.15, 0.0), at(0.42, 0.0), at(0.88, 0.0)], [width * 0.7, neck, 0.07])
    tufts = [canvas.stroke([at(x, 0.0), at(x + 0.01, tall)], [0.05, 0.04]) for x in (0.46, 0.58, 0.7, 0.82)]
    grip = canvas.stroke([at(-0.7, bend / 2), at(-0.25, 0.0)], [width * 0.5, width * 0.6])
    return [canvas.union(*tufts), canvas.union(handle, shaft), grip]


def person(canvas: Canvas, u: Numbers) -> list[Tensor]:
    """Draw persons that stand, walk or wave."""
    lean, wide = _uniform(-0.06, 0.06, u), _uniform(0.14, 0.2, u)
    head, neck = (lean * 1.3, -0.76), (lean, -0.5)
    arms, hands = [], []
    for side in (-1.0, 1.0):
        shoulder = (lean + side * (wide + 0.02), -0.47)
        elbow = _away(shoulder, 0.3, side * _uniform(-0.2, 1.3, u) - 1.5708)
        hand = _away(elbow, 0.27, side * _uniform(-0.2, 2.6, u) - 1.5708)
        arms.append(canvas.stroke([shoulder, elbow, hand], [0.085, 0.065, 0.05]))
        hands.append(canvas.disc(hand, 0.065))
    legs = [
        _leg(canvas, (side * 0.09, 0.1), 0.4, side * _uniform(-0.1, 0.5, u), _uniform(-0.2, 0.2, u), (0.11, 0.08, 0.06))
        for side in (-1.0, 1.0)
    ]
    torso = canvas.stroke([(lean, -0.44), (0.0, 0.08)], [wide, _uniform(0.11, 0.17, u)])
    face = canvas.union(canvas.disc(head, 0.155), canvas.stroke([head, neck], [0.06, 0.06]))
    hair = canvas.stroke([(head[0] - 0.07, -0.86), (head[0] + 0.07, -0.86)], [0.08, 0.08])
    return [canvas.union(*legs), canvas.union(face, *hands), canvas.union(torso, *arms), hair]


def clutter(canvas: Canvas, u: Numbers) -> list[Tensor]:
    """Draw clutter, which belongs to no class: two bent strokes and a quadrangle."""

    def anywhere() -> Point:
        return _uniform(-0.8, 0.8, u), _uniform(-0.8, 0.8, u)

    strokes = [
        canvas.stroke([anywhere(), anywhere(), anywhere()], [_uniform(0.03, 0.2, u) for _ in range(3)])
        for _ in range(2)
    ]
    left, top, right, bottom = (_uniform(0.05, 0.8, u) for _ in range(4))
    quadrangle = canvas.polygon((0.0, -top), (right, 0.0), (0.0, bottom), (-left, 0.0))
    return [quadrangle, *strokes]


CLASSES: dict[str, Drawing] = {"horse": horse, "church": church, "toothbrush": toothbrush, "person": person}
"""Drawing function of each class, in the order of the class numbers: horse 0, church 1, toothbrush 2, person 3."""


def _parts(drawing: Drawing, side: int, generator: torch.Generator) -> Tensor:
    """Return the part that each cell shows, 0 for none: uint8, (VARIANTS, side, side)."""
    numbers = iter(lambda: torch.rand(VARIANTS, generator=generator), None)
    parts = torch.zeros(VARIANTS, side, side, dtype=torch.uint8)
    for number, cells in enumerate(drawing(Canvas(VARIANTS, side), numbers), start=1):
        parts[cells] = number
    return parts


def _uniform(least: float, most: float, u: Numbers) -> Tensor:
    return least + (most - least) * next(u)


def _away(point: Point, distance: float, angle: Tensor) -> Point:
    """Return the point at `distance` in the direction `angle`, in radians from right towards up."""
    return point[0] + distance * angle.cos(), point[1] - distance * angle.sin()


def _leg(
    canvas: Canvas, hip: Point, length: float, swing: Tensor, bend: Tensor, radii: tuple[float, float, float]
) -> Tensor:
    """Draw two segments of `length` that hang from the hip, the upper at angle `swing`, the knee bent by `bend`."""
    knee = _away(hip, length, swing - 1.5708)
    return canvas.stroke([hip, knee, _away(knee, length, swing + bend - 1.5708)], radii)
