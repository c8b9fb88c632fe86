"""Palettes: the colours of the parts of objects and of grounds, red, green and blue in 0, …, 255."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Colour = tuple[int, int, int]

SPREAD = 45
"""Largest difference, in each channel, between a colour in a scene and its palette's colour."""

PALETTES: Mapping[str, Sequence[Sequence[Colour]]] = {
    "horse": (
        ((45, 40, 40), (215, 195, 150), (70, 50, 40), (225, 220, 215)),  # tail
        ((150, 85, 50), (95, 65, 45), (170, 165, 160), (60, 55, 55)),  # coat
        ((45, 40, 40), (215, 195, 150), (70, 50, 40), (225, 220, 215)),  # mane
    ),
    "church": (
        ((225, 215, 195), (150, 145, 135), (170, 100, 80), (235, 235, 230)),  # walls
        ((75, 80, 95), (165, 80, 60), (95, 140, 125), (105, 80, 65)),  # roofs
        ((45, 45, 60), (85, 105, 150), (225, 200, 115), (90, 65, 45)),  # windows and door
    ),
    "toothbrush": (
        ((235, 235, 235), (190, 220, 235), (225, 235, 215), (235, 215, 220)),  # bristles
        ((50, 105, 200), (205, 60, 65), (50, 165, 115), (225, 120, 175)),  # handle
        ((235, 235, 235), (235, 150, 60), (60, 150, 160), (50, 60, 130)),  # grip
    ),
    "person": (
        ((60, 75, 120), (55, 55, 55), (190, 170, 135), (120, 120, 120)),  # trousers
        ((230, 190, 160), (200, 150, 115), (150, 105, 75), (95, 70, 55)),  # skin
        ((200, 65, 65), (225, 225, 225), (75, 115, 190), (220, 190, 80)),  # shirt
        ((45, 40, 40), (105, 75, 50), (215, 185, 120), (140, 140, 140)),  # hair
    ),
}
"""Colours of each part of each class, the parts in the order in which `odenet.data.scenes.silhouettes` draws them."""

GROUNDS: Sequence[Colour] = (
    (95, 135, 75),  # grass
    (165, 155, 100),  # dry grass
    (150, 190, 220),  # sky
    (205, 190, 155),  # sand
    (105, 105, 110),  # asphalt
    (140, 110, 80),  # wood
    (190, 190, 185),  # tiles
    (225, 225, 230),  # snow
    (150, 95, 80),  # bricks
    (75, 110, 140),  # water
    (120, 175, 175),  # bathroom
    (120, 95, 130),  # carpet
)


def palette_table(names: Sequence[str]) -> Tensor:
    """Return the palettes of clutter and of the named classes: float32, (1 + K, P, 4, 3), for up to P parts.

    Clutter has colours of all classes, so that colour does not distinguish it from objects; parts that a class lacks
    are black.
    """
    parts = max(len(PALETTES[name]) for name in names)
    table = torch.zeros(1 + len(names), parts, 4, 3)
    for number, name in enumerate(names, start=1):
        table[number, : len(PALETTES[name])] = torch.tensor(PALETTES[name])
    for part in range(parts):
        owner = [name for name in names if part < len(PALETTES[name])]
        table[0, part] = torch.tensor([PALETTES[owner[option % len(owner)]][part][option] for option in range(4)])
    return table
