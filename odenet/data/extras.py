"""Import of the optional packages that read data sets, only when they are needed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def data_package(module: str) -> ModuleType:
    """Import and return a module of a package that belongs to the optional dependencies `odenet[data]`.

    Raises:
        ModuleNotFoundError: if the package is not installed; the message says how to install it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{module} is needed, but {error.name} is not installed: it is an optional dependency for data sets; "
            "install it with `pip install 'odenet[data]'`.",
            name=error.name,
        ) from error
