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


def test_the_wings_are_listed_before_they_are_imported():
    code = (
        "import sys, odenet\n"
        "listed = dir(odenet)\n"
        "assert {'layers', 'models', 'data', 'measure', 'training'} <= set(listed)\n"
        "assert {'from_torchvision', 'to_torchvision'} <= set(listed)\n"
        "assert {'__version__', 'ODEBlock', 'blocks'} <= set(listed)\n"
        "assert 'odenet.models' not in sys.modules\n"
        "assert all(hasattr(odenet, name) for name in listed)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_it_imports_no_package_of_a_wing():
    # Torch itself imports NumPy, so what counts is that `import odenet` adds nothing.
    code = (
        "import sys, torch, torchdiffeq\n"
        "before = set(sys.modules)\n"
        "import odenet, odenet.blocks\n"
        "added = set(sys.modules) - before\n"
        "assert not added & {'numpy', 'torchvision', 'lightning_fabric', 'torchmetrics', 'matplotlib', 'rich', 'tyro'}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'resnet18'"):
        getattr(odenet, "resnet18")  # noqa: B009 (a type checker knows that it is not there)
