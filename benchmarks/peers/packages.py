"""Installed versions of the compared packages; a package that is not installed is left out and named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from typing import TypeVar

PACKAGES = ("torchdiffeq", "torchode", "torchdyn", "torchsde", "TorchDiffEqPack", "momentumnet", "timm", "diffrax")
"""Import names of all packages that odenet is compared with."""

T = TypeVar("T")


def versions() -> dict[str, str | None]:
    """Return the version of each package, or None if it is not installed."""
    return {name: version(name) if find_spec(name) else None for name in PACKAGES}


def installed(contestants: Mapping[str, T]) -> dict[str, T]:
    """Return the contestants whose package is installed; a contestant is named "package" or "package, variant"."""
    return {name: made for name, made in contestants.items() if package(name) not in absent(contestants)}


def absent(contestants: Iterable[str]) -> list[str]:
    """Return the packages of these contestants that are not installed."""
    names = dict.fromkeys(map(package, contestants))
    return [name for name in names if name in PACKAGES and find_spec(name) is None]


def package(contestant: str) -> str:
    """Return the package of a contestant: 'torchode' for 'torchode, compiled'."""
    return contestant.partition(",")[0]


def without(contestants: Iterable[str]) -> str:
    """Return a note for a table, '; torchode, diffrax not installed', or '' if all packages are installed."""
    names = absent(contestants)
    return f"; {', '.join(names)} not installed" if names else ""
