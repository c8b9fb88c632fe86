"""Assignments to a property of a module always go through its setter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from odenet.blocks.properties import ModuleWithProperties, Value


class Sized(ModuleWithProperties):
    """A module with a property that must be a number, a property without a setter, and an ordinary attribute."""

    @property
    def size(self) -> int:
        return self._size

    @size.setter
    def size(self, value: int) -> None:
        if not isinstance(value, int):
            raise TypeError(f"size = {type(value).__name__}")
        self._size = value

    @property
    def fixed(self) -> int:
        return 1


@pytest.mark.parametrize("value", [nn.Linear(1, 1), nn.Parameter(torch.ones(1)), torch.ones(1), None, "1"], ids=repr)
def test_every_assignment_to_a_property_goes_through_its_setter(value: Any) -> None:
    module = Sized()
    module.size = 3
    with pytest.raises(TypeError, match=f"size = {type(value).__name__}"):
        module.size = value
    assert module.size == 3
    assert not list(module.children())
    assert not list(module.parameters())


def test_a_property_without_a_setter_cannot_be_set() -> None:
    value: Any = nn.Linear(1, 1)
    with pytest.raises(AttributeError):
        Sized().fixed = value  # pyright: ignore[reportAttributeAccessIssue]


def test_other_attributes_are_registered_as_in_any_module() -> None:
    module = Sized()
    module.layer, module.weight, module.name = nn.Linear(1, 1), nn.Parameter(torch.ones(1)), "name"
    assert [name for name, _ in module.named_parameters()] == ["weight", "layer.weight", "layer.bias"]


def test_a_value_is_equal_hashed_and_shown_by_its_attributes() -> None:
    class Shift(Value):
        def __init__(self, by: float) -> None:
            self.by = by

    assert Shift(1.0) == Shift(1.0)
    assert hash(Shift(1.0)) == hash(Shift(1.0))
    assert Shift(1.0) != Shift(2.0)
    assert repr(Shift(1.0)) == "Shift(by=1.0)"
