"""Fingerprints of the files that settings name by a path, so that settings are compared by the content of files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path

from odenet.training.fingerprints import fingerprint

FILE = "file of the setting "
"""Prefix of the names of these fingerprints in a record."""


def files_of(settings: object) -> dict[str, str]:
    """Return the fingerprints of the existing files and folders, by the dotted names of their settings.

    Args:
        settings: Dataclass, or JSON data with paths.
    """
    return {FILE + name: fingerprint(path) for name, path in _paths(settings, "") if path.exists()}


def _paths(value: object, name: str) -> Iterator[tuple[str, Path]]:
    """Yield the paths in settings, with their dotted names."""
    if isinstance(value, Path):
        yield name, value
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _paths(entry, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for i, entry in enumerate(value):
            yield from _paths(entry, f"{name}[{i}]")
    elif is_dataclass(value) and not isinstance(value, type):
        yield from _paths({field.name: getattr(value, field.name) for field in fields(value)}, name)
