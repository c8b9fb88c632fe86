"""A package that is not installed is reported with the extra that brings it, and nothing else is touched."""

from __future__ import annotations

import sys

import pytest

from odenet.blocks.extras import Extra
from odenet.training.tensor_files import tensors_to_bytes


def test_a_package_that_is_there_is_imported():
    with Extra("data"):
        import json
    assert json.dumps(1) == "1"


def test_a_package_that_is_absent_is_named_with_the_extra_that_brings_it(monkeypatch):
    for name in ("safetensors", "safetensors.torch"):  # another test may have imported it
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r"safetensors is needed.*pip install 'odenet\[experiments\]'"):
        tensors_to_bytes({}, {})


def test_the_error_keeps_the_name_of_the_package():
    with pytest.raises(ModuleNotFoundError) as raised, Extra("data"):
        raise ModuleNotFoundError("No module named 'PIL.Image'", name="PIL.Image")
    assert raised.value.name == "PIL.Image"


@pytest.mark.parametrize("name", ["odenet.no_such_module", None])
def test_a_module_of_our_own_or_without_a_name_belongs_to_no_extra(name):
    error = ModuleNotFoundError("the message as it was", name=name)
    with pytest.raises(ModuleNotFoundError, match="the message as it was"), Extra("data"):
        raise error


def test_other_errors_pass():
    with pytest.raises(ImportError, match="cannot import name"), Extra("data"):
        raise ImportError("cannot import name 'x'")
