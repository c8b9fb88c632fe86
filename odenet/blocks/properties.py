"""Modules whose property setters are always called, and objects that are equal by their attributes."""

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


class Value:
    """An object that is its attributes: equal, hashed and shown by them, for solvers, projections and the like."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *sorted(vars(self).items())))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"
