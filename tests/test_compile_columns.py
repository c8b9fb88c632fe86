"""A state split into columns and joined again is the same state."""

from __future__ import annotations

import pytest
import torch

from odenet.blocks.compile.columns import NARROW, columns, is_narrow, joined


@pytest.mark.parametrize("entries", [1, 2, NARROW])
def test_joined_columns_are_the_state(entries: int) -> None:
    x = torch.randn(5, entries)
    parts = columns(x)
    assert [part.shape for part in parts] == entries * [(5, 1)]
    assert torch.equal(joined(parts), x)


def test_a_state_alone_is_its_only_part() -> None:
    x = torch.randn(5, 2, 3)
    assert joined((x,)) is x


def test_only_states_of_a_few_entries_are_narrow() -> None:
    assert all(is_narrow(torch.zeros(3, entries)) for entries in range(2, NARROW + 1))
    for shape in ((3, NARROW + 1), (3, 1), (3,), (3, 2, 1)):
        assert not is_narrow(torch.zeros(shape))
    assert not is_narrow(torch.zeros(3, 2, device="meta"))
