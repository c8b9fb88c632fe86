"""The README, as a stranger would try it."""

from __future__ import annotations

import re
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_code_runs_as_typed_in_and_does_what_its_comments_say():
    typed: dict = {}
    for snippet in re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL):
        exec(compile(snippet, "README.md", "exec"), typed)
    assert len(typed["deeper"].theta.nodes) == 16
    assert typed["deeper"].stepping == typed["FixedSteps"](typed["Euler"]())
    stage, x = typed["stage"].eval(), typed["x"]
    deeper = typed["refine_theta"](typed["refine_steps"](stage))
    stage.stepping = typed["FixedSteps"](typed["Euler"](), per_piece=2)
    with torch.no_grad():
        assert torch.equal(stage(x), deeper(x))


def test_every_file_that_it_names_is_there():
    named = set(re.findall(r"`([\w./-]+\.(?:py|md|txt|cff))`", TEXT)) | set(re.findall(r"\]\(([\w./-]+)\)", TEXT))
    assert named
    assert sorted(name for name in named if not (ROOT / name).exists()) == []
