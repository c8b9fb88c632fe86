"""Committed figures and numbers are those of the committed records."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest

from odenet.training import Record
from paper_figs import claims, depth_refinement, solver_swap
from paper_figs.command import draw_records

ROOT = Path(__file__).parent.parent
SCRIPTS = {script.NAME: script for script in (depth_refinement, solver_swap)}
RECORDS = sorted(path.relative_to(ROOT) for name in SCRIPTS for path in (ROOT / "records" / name).glob("*.json"))


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_every_experiment_has_a_committed_record():
    assert {path.parent.name for path in RECORDS} == set(SCRIPTS)


@pytest.mark.parametrize("path", RECORDS, ids=str)
def test_a_committed_record_is_finished_and_names_its_commit(path):
    record = Record.load(path)
    assert record.finished
    assert record.commits
    assert not any("+" in commit for commit in record.commits)


@pytest.mark.parametrize("path", RECORDS, ids=str)
def test_a_committed_figure_is_redrawn_byte_for_byte(path, tmp_path):
    pinned = re.search(r"^matplotlib==(\S+)", Path("constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    if version("matplotlib") != pinned[1]:
        pytest.skip("another matplotlib than the pinned one draws other bytes")
    name = path.parent.name
    draw_records(name, SCRIPTS[name].draw, [path], tmp_path)
    for file in sorted(tmp_path.iterdir()):
        assert file.read_bytes() == Path("paper_figs/figures", file.name).read_bytes(), file.name


def test_the_tables_in_the_readme_are_made_from_the_records():
    text = Path("README.md").read_text(encoding="utf-8")
    assert all(f"<!-- {name} -->" in text and f"<!-- end of {name} -->" in text for name in claims.TABLES)
    assert claims.with_tables(text) == text


def test_a_claim_that_the_numbers_do_not_support_is_called_so():
    refuted = claims.Claim("two is one", "–", claims.DEPTH, lambda _: "2", lambda _: False)
    assert "| **no** |" in refuted.row()
