"""The README and the pages of docs/, as a stranger would try them."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
import torch

import odenet
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.stepping.base import Stepping

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_the_readme_has_at_most_150_lines():
    assert len(TEXT.splitlines()) <= 150


def test_the_fifteen_lines_of_code_are_fifteen():
    assert [sum(bool(line) for line in snippet.splitlines()) for snippet in CODE] == [15]
    assert all(len(line) <= 120 for line in CODE[0].splitlines())


def test_the_code_runs_as_typed_in_and_does_what_its_comments_say():
    typed: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(CODE[0], "README.md", "exec"), typed)
    ode, stage, x, deeper = typed["ode"], typed["stage"], typed["x"], typed["deeper"]
    assert len(deeper.theta.nodes) == 16
    assert deeper.stepping == ode.FixedSteps(ode.Euler())
    stage.eval()
    deeper = ode.refine_theta(ode.refine_steps(stage))
    stage.stepping = ode.FixedSteps(ode.Euler(), per_piece=2)
    with torch.no_grad():
        assert torch.equal(stage(x), deeper(x))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_it_names_is_there(page: Path):
    text = page.read_text(encoding="utf-8")
    links = {page.parent / name for name in re.findall(r"\]\(([\w./-]+)\)", text)}
    named = {ROOT / name for name in re.findall(r"`([\w./-]+(?:\.(?:py|md|txt|cff)|/))`", text)}
    assert links
    assert sorted(str(file) for file in links | named if not file.exists()) == []


def table(name: str) -> list[str]:
    """The rows of a generated table, without its head."""
    text = TEXT.partition(f"<!-- {name} -->")[2].partition(f"<!-- end of {name} -->")[0]
    return [line for line in text.splitlines() if line.startswith("| ")][1:]


def test_it_shows_five_findings_of_which_one_fails_and_one_is_undecided_and_three_benchmarks():
    verdicts = {row.rpartition(" | ")[2].removesuffix(" |").partition(" (GPU")[0] for row in table("findings")}
    assert len(table("findings")) == 5
    assert {"**fails**", "undecided"} <= verdicts <= {"holds", "**fails**", "undecided"}
    assert len(table("benchmarks")) == 3


def test_the_readme_names_every_theta_solver_stepping_gradient_method_and_noise():
    kinds = (odenet.Theta, odenet.Solver, Stepping, GradientMethod, odenet.StochasticDepth)
    public = [getattr(odenet, name) for name in odenet.__all__]
    abstract = {odenet.Theta, odenet.LinearTheta, odenet.Solver, odenet.RungeKutta, odenet.ReversibleSolver}
    names = {
        each.__name__ for each in public if isinstance(each, type) and issubclass(each, kinds) and each not in abstract
    }
    assert len(names) >= 20
    assert sorted(name for name in names if not re.search(rf"`{name}\b", TEXT)) == []
