"""The optional packages that data sets are read with: imported when one is asked for, not before."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def data_package(module: str) -> ModuleType:
    """The module of that name, from a package of the extra `data`.

    Raises:
        ModuleNotFoundError: It is not installed; the message says how to.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{module} was asked for, but {error.name} is not installed: it comes with the data sets; "
            "install it with `pip install 'odenet[data]'`.",
            name=error.name,
        ) from error
