"""Committed figures and tables agree with the committed records."""

from __future__ import annotations

import contextlib
import re
from functools import reduce
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import paper_figs.__main__
from odenet.training import Record
from paper_figs.claims import headlines
from paper_figs.claims.claim import Claim
from paper_figs.claims.pages import PAGES, README, RESULTS, claims, with_tables, write_pages
from paper_figs.claims.verdict import above, student
from paper_figs.support.command import Script, draw_records, records_of, scripts
from tests.figures import difference

ROOT = Path(__file__).parent.parent
EXPERIMENTS = sorted({script.experiment for script in scripts()})
with contextlib.chdir(ROOT):
    RECORDED = {name: records_of(name) for name in EXPERIMENTS}
RECORDS = sorted(path for paths in RECORDED.values() for path in paths)
AWAITED: set[str] = {"detection"}
"""Experiments whose record has not been made yet."""
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
def test_a_committed_figure_is_redrawn_as_a_reader_sees_it(script: Script, path: Path, tmp_path):
    require_pinned_matplotlib()
    assert differences(script, path, tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "record", "place", "value"),
    [
        (
            "depth_refinement",
            "depth_refinement/demo-digits.json",
            ("seed0/batch-independent-euler-one/refined/level2", "answers", "recalibrated", "euler×1", "accuracy"),
            0.1,
        ),
        (
            "segmentation_steps",
            "segmentation/cpu-scenes.json",
            ("seed0/unet_flows/steppings", "rk4×2", "by_batch"),
            0.8,
        ),
        ("upsampling_examples", "upsampling/cpu.json", ("examples", "small", 0, 0), 7.0),
    ],
)
def test_a_figure_of_other_numbers_is_stale_in_both_files(name, record, place, value, tmp_path):
    require_pinned_matplotlib()
    path = changed(Path("records", record), place, value, tmp_path)
    (script,) = [script for script in scripts() if script.name == name]
    assert {file.rpartition(".")[2] for file in differences(script, path, tmp_path / "drawn")} == {"pdf", "png"}


def require_pinned_matplotlib() -> None:
    pinned = re.search(r"^matplotlib==(\S+)", Path("constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    if version("matplotlib") != pinned[1]:
        pytest.skip("another matplotlib than the pinned one places things otherwise")


def differences(script: Script, record: Path, folder: Path) -> dict[str, str]:
    """Redraw the figure of a record and return its differences from the committed one, by file."""
    draw_records(script.name, script.draw, [record], folder, script.experiment)
    found = {file.name: difference(file, Path("paper_figs/figures", file.name)) for file in sorted(folder.iterdir())}
    assert len(found) == 2
    return {name: reason for name, reason in found.items() if reason is not None}


def changed(record: Path, place: tuple[str | int, ...], value: float, folder: Path) -> Path:
    """Write a copy of the record, with another value at a place of its results, to `folder`."""
    content = Record.load(record)
    *way, last = place
    start: Any = content.results
    holder = reduce(lambda found, key: found[key], way, start)
    assert holder[last] != value
    holder[last] = value
    content.save(path := folder / record.name)
    return path


def test_all_figures_go_into_the_folder_that_is_named(tmp_path, monkeypatch):
    one = next(script for script in scripts() if script.name == "depth_refinement")
    monkeypatch.setattr(paper_figs.__main__, "scripts", lambda: [one])
    paper_figs.__main__.main(tmp_path / "here")
    drawn = {f"{one.name}-{path.stem}.{form}" for path in RECORDED[one.name] for form in ("pdf", "png")}
    assert {file.name for file in (tmp_path / "here").iterdir()} == drawn


def test_help_lists_the_figures_with_their_experiments():
    shown = paper_figs.__main__.description()
    for script in scripts():
        assert f"{script.name}: " in shown
        assert f"(of {script.experiment})" in shown
    assert "python -m paper_figs.NAME --record FILE" in shown


def test_where_there_are_no_records_a_figure_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"records here has none of depth_refinement: give one of your own"):
        draw_records("depth_refinement", lambda _: pytest.fail("drawn"), None, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"records here has no records: give one of your own"):
        paper_figs.__main__.main(tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_tables_in_the_readme_and_in_docs_are_made_from_the_records(page: Path):
    assert with_tables(page) == page.read_text(encoding="utf-8"), "run python -m paper_figs.claims"


def test_one_command_writes_readme_and_docs_anew(monkeypatch, tmp_path):
    current = {page: page.read_text(encoding="utf-8") for page in PAGES}
    for name in ("records", "paper_figs"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    for page, text in current.items():
        page.write_text(re.sub(r"(?s)(<!-- (\w+) -->\n).*?(<!-- end of \2 -->)", r"\1\3", text), encoding="utf-8")
    write_pages()
    assert {page: page.read_text(encoding="utf-8") for page in PAGES} == current


def test_a_readme_without_a_place_for_a_table_says_where_it_belongs(monkeypatch, tmp_path):
    text = README.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for marker in ("<!-- picture -->", "<!-- end of picture -->"):
        README.write_text(text.replace(marker, ""), encoding="utf-8")
        with pytest.raises(
            ValueError, match=r"picture was to be written into README.md, .*: put the lines <!-- picture"
        ):
            with_tables(README)


@pytest.mark.parametrize("start", ["Trained with h = 2", ""])
def test_a_claim_of_the_readme_that_is_reworded_is_missed(start: str, monkeypatch):
    monkeypatch.setattr(headlines, "FINDINGS", [("depth_refinement", start)])
    count = sum(claim.path.exists() for claim in claims()["depth_refinement"]) if not start else 0
    with pytest.raises(
        ValueError, match=rf"shows {start!r}, but {count} claims on depth_refinement begin so: change it"
    ):
        headlines.findings(claims())


@pytest.mark.parametrize(("bound", "verdict"), [(-2.0, "holds"), (1.0, "undecided"), (9.0, "**fails**")])
def test_a_claim_is_shown_with_its_interval_and_one_of_three_verdicts(bound: float, verdict: str):
    part = above(student(lambda _: [0.0, 1.0, 2.0]), bound, "points")
    claim = Claim("it gains", "–", "depth_refinement/cpu-fashion-mnist.json", lambda _: "1.0 ± 1.0", part, gpu="a day")
    budget = " (GPU: a day)" if verdict == "undecided" else ""
    shown = f"-1.48 to 3.48 points; must be > {bound:g}"
    assert claim.row() == f"| it gains | – | 1.0 ± 1.0 | {shown} | {verdict}{budget} |"


HEAD = "| claim | published | ours | 95 % interval | verdict |"


def test_there_are_sixty_claims_or_more_and_no_verdict_without_an_interval_but_on_numbers_without_chance():
    text = RESULTS.read_text(encoding="utf-8")
    table = text.partition("<!-- claims -->")[2].partition("<!-- end of claims -->")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ") and line != HEAD]
    assert len(rows) >= 60
    for *_, interval, verdict in rows:
        verdict = verdict.removesuffix(" |").partition(" (GPU")[0]
        assert verdict in ("holds", "**fails**", "undecided")
        if verdict != "undecided":
            assert re.match(r"-?[\d.,e-]+ to -?[\d.,e-]+|exact \((equality|count)\)", interval), interval
