"""Templates know the areas, anchors and runs of their objects and refuse tensors that do not match."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from odenet.data.scenes.templates import OUTSIDE, Templates


def templates(**changes: Any) -> Templates:
    """Return a square as clutter, a bar of class 0, and a ring and a corner of class 1, with two parts."""
    parts = torch.zeros(4, 5, 5, dtype=torch.uint8)
    parts[0, 1:4, 1:4] = 1
    parts[1, 2] = 1
    parts[2, 1:4, 1:4] = 2
    parts[2, 2, 2] = 0
    parts[3, 4, 4] = 2
    given: dict[str, Any] = {
        "parts": parts,
        "shades": torch.arange(100, dtype=torch.uint8).view(4, 5, 5),
        "classes": torch.tensor([-1, 0, 1, 1]),
        "names": ("bar", "other"),
        "palette": torch.zeros(3, 2, 1, 3),
        "spread": 0.0,
        "contrast": (0.0, 0.0),
    }
    return Templates(**given | changes)


def test_areas_are_shares_of_the_grid() -> None:
    assert templates().areas.tolist() == pytest.approx([9 / 25, 5 / 25, 8 / 25, 1 / 25])


def test_an_anchor_is_a_cell_of_the_object_as_near_to_the_middle_as_there_is() -> None:
    anchors = templates().anchors
    assert anchors[0].tolist() == [2, 2]
    assert anchors[3].tolist() == [4, 4]
    column, row = anchors[2].tolist()
    assert abs(column - 2) + abs(row - 2) == 1


def test_the_runs_say_where_clutter_and_each_class_begin() -> None:
    first, count = templates().runs
    assert first.tolist() == [0, 1, 2]
    assert count.tolist() == [1, 1, 2]


def test_packed_cells_hold_part_and_shade_and_a_border_of_nothing() -> None:
    packed = templates().packed.view(4, 7, 7)
    assert int(packed[2, 2, 2]) == 256 + 56
    assert int(packed[1, 3, 1]) == 35
    assert int(packed[2, 3, 3]) == OUTSIDE
    border = torch.cat([packed[:, 0], packed[:, -1], packed[:, :, 0], packed[:, :, -1]])
    assert (border == OUTSIDE).all()


def test_clutter_of_others_takes_the_place_of_their_own_on_their_grid() -> None:
    small = templates()
    large = replace(
        small,
        parts=small.parts.repeat_interleave(3, 1).repeat_interleave(3, 2),
        shades=small.shades.repeat_interleave(3, 1).repeat_interleave(3, 2),
    )
    mixed = small.with_clutter(large)
    assert torch.equal(mixed.parts, small.parts)
    assert mixed.classes.tolist() == [-1, 0, 1, 1]
    assert large.with_clutter(small).side == 15


def test_templates_on_their_device_are_themselves() -> None:
    own = templates()
    assert own.to("cpu") is own


def test_their_text_is_short() -> None:
    assert repr(templates()) == "Templates(4 of bar, other)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shades": torch.zeros(4, 6, 6, dtype=torch.uint8)}, r"parts of shape \(4, 5, 5\), shades of \(4, 6, 6\)"),
        ({"classes": torch.tensor([-1, 0, 1])}, "3 classes do not make templates"),
        ({"parts": torch.zeros(4, 5, 5, dtype=torch.uint8)}, "template 0 is empty: all its parts are 0"),
        ({"classes": torch.tensor([-1, 1, 0, 1])}, r"classes \[-1, 1, 0, 1\] do not match .* \('bar', 'other'\)"),
        ({"classes": torch.tensor([-1, 0, 0, 0])}, "at least one template to every class from 0 to 1"),
        ({"classes": torch.tensor([-1, 0, 1, 2])}, r"classes \[-1, 0, 1, 2\] do not match"),
    ],
)
def test_templates_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        templates(**changes)
