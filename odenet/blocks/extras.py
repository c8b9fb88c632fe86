"""Imports of optional packages, each of which belongs to an extra of the distribution: `pip install 'odenet[data]'`."""

from __future__ import annotations

from types import TracebackType


class Extra:
    """Context of the imports of an extra's packages: a package that is not installed is reported with the extra's name.

        with Extra("experiments"):
            from lightning_fabric import Fabric

    Args:
        name: Name of the extra in pyproject.toml.

    Raises:
        ModuleNotFoundError: if a package of the extra is not installed; the message says how to install it.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        """Begin the imports."""

    # It never returns True, so that type checkers know that the names are bound after the block.
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise the error that names the extra in place of the bare one."""
        if not isinstance(error, ModuleNotFoundError) or _belongs_to_odenet(error.name):
            return
        package = (error.name or "").split(".")[0]
        raise ModuleNotFoundError(
            f"{package} is needed here, but it is not installed: it comes with the extra '{self.name}' of odenet; "
            f"run pip install 'odenet[{self.name}]'.",
            name=error.name,
        ) from error


def _belongs_to_odenet(module: str | None) -> bool:
    """Whether a missing module is one of our own, which no extra would bring."""
    return (module or "odenet").split(".")[0] == "odenet"
