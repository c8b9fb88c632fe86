"""Every part of every class has a palette, and clutter has colours of the classes."""

from __future__ import annotations

from odenet.data.scenes.palettes import GROUNDS, PALETTES, palette_table
from odenet.data.scenes.silhouettes import CLASSES, silhouettes


def test_every_class_has_a_palette_for_each_of_its_parts() -> None:
    assert list(PALETTES) == list(CLASSES)
    templates = silhouettes()
    for number, palette in enumerate(PALETTES.values()):
        assert len(palette) == int(templates.parts[templates.classes == number].max())


def test_the_table_has_clutter_first_and_then_the_classes_in_order() -> None:
    table = palette_table(("church", "person"))
    assert table.shape == (3, 4, 4, 3)
    assert table[1, 1, 0].tolist() == list(PALETTES["church"][1][0])
    assert table[1, 3].abs().sum() == 0
    assert table[2, 3, 3].tolist() == list(PALETTES["person"][3][3])


def test_clutter_has_colours_of_the_classes_in_every_part() -> None:
    names = tuple(PALETTES)
    table = palette_table(names)
    for part in range(table.shape[1]):
        own = {colour for name in names for colour in (PALETTES[name][part] if part < len(PALETTES[name]) else ())}
        assert {tuple(map(int, colour)) for colour in table[0, part].tolist()} <= own


def test_colours_are_bytes() -> None:
    colours = [colour for palette in PALETTES.values() for part in palette for colour in part] + list(GROUNDS)
    assert all(0 <= channel <= 255 for colour in colours for channel in colour)
