"""Import of the optional packages that read data sets, only when they are needed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from odenet.blocks.extras import Extra


def data_package(module: str) -> ModuleType:
    """Import and return a module of a package that belongs to the optional dependencies `odenet[data]`.

    Raises:
        ModuleNotFoundError: if the package is not installed; the message says how to install it.
    """
    with Extra("data"):
        return import_module(module)
