"""Modules with properties whose setters are always called."""

from __future__ import annotations

from typing import Any

from torch import nn


class ModuleWithProperties(nn.Module):
    """A module whose properties can only be assigned through their setters.

    `nn.Module` registers a module or a parameter under the name to which it is assigned, even if the class has a
    property of that name. The setter would not be called, and a module that it refuses would be shown by `print` but
    never used.

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
