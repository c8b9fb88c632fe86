"""CONTRIBUTING.md: the files that it sends people to, and its recipes, typed in."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

import odenet
from odenet.data import load
from odenet.training import Run

ROOT = Path(__file__).parents[1]
GRADIENTS = (odenet.Backprop(), odenet.Checkpointed())
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_the_files_that_contributors_are_sent_to_are_there() -> None:
    named = set(re.findall(r"`((?:[\w.]+/)*[\w.]+[.](?:py|md|txt|toml|cff|yaml))`", TEXT)) - {"utils.py"}
    assert "odenet/blocks/solvers/runge_kutta.py" in named
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_the_recipes_work_when_typed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In a module of their own: classes that name none count as Python's, and torch.compile goes round in circles there.
    module = types.ModuleType("recipes")
    monkeypatch.setitem(sys.modules, "recipes", module)
    recipes: dict[str, Any] = vars(module)
    for snippet in re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL):
        exec(compile(snippet, "CONTRIBUTING.md", "exec"), recipes)

    theta = recipes["ThereAndBack"]([odenet.MLPBranch(2) for _ in range(3)])
    block = odenet.ODEBlock(theta, odenet.FixedSteps(recipes["Kutta3"]()))
    block(torch.zeros(1, 2))
    assert block.evaluations == 3 * 6
    growing = odenet.ODEBlock(theta, recipes["GrowingSteps"](odenet.Euler(), per_piece=3))
    by_steps = {type(g): growing(torch.ones(1, 2)) for growing.gradient in GRADIENTS for g in [growing.gradient]}
    assert torch.equal(by_steps[odenet.Backprop], by_steps[odenet.Checkpointed])
    assert growing.evaluations == 3 * 6
    with pytest.raises(ValueError, match="cannot be undone"):
        growing.gradient = odenet.Reversible()
    assert recipes["RALSTON_EULER"].is_first_same_as_last
    assert recipes["branch"](0.0, torch.ones(1, 16, 4, 4)).shape == (1, 16, 4, 4)

    run = Run.open("widths", recipes["SMOKE"], tmp_path / "smoke-digits.json")
    recipes["widths"](recipes["SMOKE"], load("digits", train_images=128), run)
    assert [row["net"] for row in run.record.summary["table"]] == ["seed0/width4", "seed0/width8"]
    assert all(0 <= row["accuracy"] <= 1 for row in run.record.summary["table"])
    recipes["draw"](run.record).savefig(tmp_path / "widths.png")
