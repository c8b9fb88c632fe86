"""Type checkers accept a user's script, and find the mistakes in one."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tests" / "user_script.py"

MISTAKEN = """import odenet
from odenet import ODEBlock

odenet.no_such_name
odenet.models.no_such_network
ODEBlock(1)
odenet.models.resnet20(num_classes="ten")
"""


def needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}: pip install 'odenet[dev]'")


@pytest.fixture
def scripts(tmp_path: Path) -> list[str]:
    """A user's script and a mistaken one in a folder of the user's."""
    (tmp_path / "right.py").write_text(SCRIPT.read_text("utf-8"), "utf-8")
    (tmp_path / "mistaken.py").write_text(MISTAKEN, "utf-8")
    return [str(tmp_path / name) for name in ("right.py", "mistaken.py")]


def test_pyright_accepts_a_users_script_and_finds_each_mistake(scripts: list[str], tmp_path: Path) -> None:
    needs("pyright")
    settings = {"extraPaths": [str(ROOT)], "typeCheckingMode": "standard", "reportAttributeAccessIssue": "error"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), "utf-8")
    command = ["-m", "pyright", "--pythonpath", sys.executable, "--outputjson", "--project", str(tmp_path)]
    ran = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=tmp_path, check=False)
    found = [item for item in json.loads(ran.stdout)["generalDiagnostics"] if item["severity"] == "error"]
    assert {(Path(item["file"]).name, item["range"]["start"]["line"] + 1) for item in found} == {
        ("mistaken.py", line) for line in (4, 5, 6, 7)
    }, found


def test_mypy_accepts_a_users_script_in_strict_mode_and_finds_each_mistake(scripts: list[str], tmp_path: Path) -> None:
    needs("mypy")
    command = ["-m", "mypy", "--strict", "--follow-imports=silent", f"--cache-dir={tmp_path / 'cache'}", *scripts]
    environment = os.environ | {"MYPYPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    found = re.findall(r"^(?:.*/)?(\w+\.py):(\d+): error:", ran.stdout, re.MULTILINE)
    assert set(found) == {("mistaken.py", str(line)) for line in (4, 5, 6, 7)}, ran.stdout + ran.stderr
