"""Modules with properties: whatever is assigned to a property goes through its setter."""

from __future__ import annotations

from typing import Any

from torch import nn


class ModuleWithProperties(nn.Module):
    """A module whose properties are set by their setters alone.

    `nn.Module` registers a module or a parameter under the name that it is assigned to, and does not look whether the
    class has a property of that name: the setter would not be called, and what it refuses would be shown by `print`
    and never used.

    >>> class Positive(ModuleWithProperties):
    ...     @property
    ...     def size(self) -> float:
    ...         return self._size
    ...
    ...     @size.setter
    ...     def size(self, value: float) -> None:
    ...         if not isinstance(value, float):
    ...             raise TypeError(f"size = {type(value).__name__}; pass a float.")
    ...         self._size = value
    >>> Positive().size = nn.Identity()
    Traceback (most recent call last):
    ...
    TypeError: size = Identity; pass a float.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a property through its setter, and everything else as any module does."""
        if isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)
