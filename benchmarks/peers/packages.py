"""Which packages are there: one that is not installed is left out, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from typing import TypeVar

PACKAGES = ("torchdiffeq", "torchode", "torchdyn", "torchsde", "TorchDiffEqPack", "momentumnet", "timm", "diffrax")
"""All packages that stand beside odenet, as they are imported."""

T = TypeVar("T")


def versions() -> dict[str, str | None]:
    """The version of each package; None for one that is not installed."""
    return {name: version(name) if find_spec(name) else None for name in PACKAGES}


def installed(contestants: Mapping[str, T]) -> dict[str, T]:
    """Those whose package is here: a contestant is called after its package, with what is special after a comma."""
    return {name: made for name, made in contestants.items() if package(name) not in absent(contestants)}


def absent(contestants: Iterable[str]) -> list[str]:
    """The packages of these contestants that are not installed."""
    names = dict.fromkeys(map(package, contestants))
    return [name for name in names if name in PACKAGES and find_spec(name) is None]


def package(contestant: str) -> str:
    """'torchode' of 'torchode, compiled'."""
    return contestant.partition(",")[0]


def without(contestants: Iterable[str]) -> str:
    """'; torchode, diffrax not installed' for a table; nothing if all are there."""
    names = absent(contestants)
    return f"; {', '.join(names)} not installed" if names else ""
