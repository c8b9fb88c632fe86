"""Committed figures and numbers are those of the committed records."""

from __future__ import annotations

import contextlib
import re
from importlib.metadata import version
from pathlib import Path

import pytest

import paper_figs.__main__
from odenet.training import Record
from paper_figs.claims.claim import Claim
from paper_figs.claims.readme import TABLES, claims, with_tables
from paper_figs.command import Script, draw_records, records_of, scripts

ROOT = Path(__file__).parent.parent
EXPERIMENTS = sorted({script.experiment for script in scripts()})
with contextlib.chdir(ROOT):
    RECORDED = {name: records_of(name) for name in EXPERIMENTS}
RECORDS = sorted(path for paths in RECORDED.values() for path in paths)
AWAITED: set[str] = set()
"""Experiments whose record is still to be made."""
FIGURES = [(script, path) for script in scripts() for path in RECORDED[script.experiment]]


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_every_figure_has_a_committed_record_but_for_those_still_to_be_run():
    recorded = {name for name, paths in RECORDED.items() if paths}
    assert set(EXPERIMENTS) - recorded <= AWAITED
    assert recorded & AWAITED == set(), "has its record: take it off the list"


def test_every_claim_is_that_of_a_committed_record_or_waits_for_a_gpu():
    made = [claim.record for name, own in claims().items() if name not in AWAITED for claim in own]
    assert sorted({name for name in made if "/gpu-" not in name and not Path("records", name).exists()}) == []


@pytest.mark.parametrize("path", RECORDS, ids=str)
def test_a_committed_record_is_finished_and_names_its_commit(path):
    record = Record.load(path)
    assert record.finished
    assert record.commits
    assert not any("+" in commit for commit in record.commits)


@pytest.mark.parametrize(("script", "path"), FIGURES, ids=lambda value: getattr(value, "name", None))
def test_a_committed_figure_is_redrawn_byte_for_byte(script: Script, path: Path, tmp_path):
    pinned = re.search(r"^matplotlib==(\S+)", Path("constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    if version("matplotlib") != pinned[1]:
        pytest.skip("another matplotlib than the pinned one draws other bytes")
    draw_records(script.name, script.draw, [path], tmp_path, script.experiment)
    for file in sorted(tmp_path.iterdir()):
        assert file.read_bytes() == Path("paper_figs/figures", file.name).read_bytes(), file.name


def test_all_figures_go_into_the_folder_that_is_named(tmp_path, monkeypatch):
    one = next(script for script in scripts() if script.name == "depth_refinement")
    monkeypatch.setattr(paper_figs.__main__, "scripts", lambda: [one])
    paper_figs.__main__.main(tmp_path / "here")
    drawn = {f"{one.name}-{path.stem}.{form}" for path in RECORDED[one.name] for form in ("pdf", "png")}
    assert {file.name for file in (tmp_path / "here").iterdir()} == drawn


def test_the_tables_in_the_readme_are_made_from_the_records():
    text = Path("README.md").read_text(encoding="utf-8")
    assert all(f"<!-- {name} -->" in text and f"<!-- end of {name} -->" in text for name in TABLES)
    assert with_tables(text) == text


def test_a_claim_that_the_numbers_do_not_support_is_called_so():
    refuted = Claim("two is one", "–", "depth_refinement/cpu-fashion-mnist.json", lambda _: "2", lambda _: False)
    assert "| **no** |" in refuted.row()
