"""Optional packages are imported on demand; a missing one is named with the command that installs it."""

from __future__ import annotations

import json
import sys

import pytest

from odenet.data.extras import data_package


def test_a_package_that_is_there_is_imported():
    assert data_package("json") is json


def test_a_package_that_is_absent_is_named_with_its_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ModuleNotFoundError, match=r"torchvision.*pip install 'odenet\[data\]'"):
        data_package("torchvision")
