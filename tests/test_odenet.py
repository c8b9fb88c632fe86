"""The package itself: what `import odenet` gives, and what it leaves until it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import odenet


def test_every_name_that_it_hands_on_is_there():
    assert [name for name in odenet.__all__ if not hasattr(odenet, name)] == []


def test_a_wing_is_imported_when_it_is_asked_for_and_not_before():
    code = (
        "import sys, odenet\n"
        "assert not any(name.startswith(('odenet.models', 'odenet.training')) for name in sys.modules)\n"
        "assert odenet.models.resnet18 is not None"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'resnet18'"):
        odenet.resnet18  # noqa: B018
