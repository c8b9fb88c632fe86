"""Killed at any moment, a run goes on to the result of an undisturbed one; nothing is lost, torn or left over."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from odenet.training import Record
from paper_figs.support.command import draw_records, scripts
from tests.drills.program import ROOT, Program, Started
from tests.drills.tally import LONG, Counting, Tally
from tests.drills.whole_files import files, left_over, lost, progress, torn
from tests.test_experiments import untimed

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are copies")


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    with Program() as program:
        yield program


class Drill(NamedTuple):
    """What is killed, and how often."""

    module: str
    arguments: tuple[str, ...]
    kills: int
    groups: int
    """In so many tests, which may run side by side."""


EVERY_STEP = ("smoke", "--record", "record.json", "--training.checkpoint-seconds", "0")
SMALLER = () if LONG else ("--train-images", "64", "--levels", "1", "--recalibration-images", "8")
ONE_NET = () if LONG else ("--nets", "fcn8s", "--scenes", "8", "--test-scenes", "2")
EXPERIMENTS = {
    "training": Drill("experiments.depth_refinement", EVERY_STEP + SMALLER, *((144, 6) if LONG else (3, 1))),
    "segmentation": Drill("experiments.segmentation", EVERY_STEP + ONE_NET, *((144, 6) if LONG else (2, 1))),
}
ONE_FIGURE = "depth_refinement"
FIGURES = Drill(
    "paper_figs" if LONG else f"paper_figs.{ONE_FIGURE}", ("--out", "{folder}"), *((12, 2) if LONG else (3, 1))
)


@pytest.mark.parametrize(
    ("name", "group"), [(name, group) for name, drill in EXPERIMENTS.items() for group in range(drill.groups)]
)
def test_a_killed_experiment_goes_on_to_the_result_of_an_undisturbed_one(
    name: str, group: int, program: Program, tmp_path: Path, tally: Counting
) -> None:
    drill, drawn = EXPERIMENTS[name], random.Random(f"{name} {group}")
    with tally(f"kills: {name}") as counts:
        folder = tmp_path / "undisturbed"
        begun = time.monotonic()
        _run_to_the_end(program, drill, folder)
        seconds, undisturbed = time.monotonic() - begun, _record(folder)
        faults: list[str] = []
        while counts.tries < drill.kills // drill.groups:
            folder = tmp_path / f"killed {counts.tries}"
            faults += _killed_until_it_ends(program, folder, drill, counts, drawn, seconds)
            if _record(folder) != undisturbed:
                counts.lost += 1
                faults.append(f"{folder} ends with another record")
            shutil.rmtree(folder)
        counts.require_clean(faults)
    assert not LONG or CAUGHT, "so that the drill shows something: kills in the middle of a write"


CAUGHT: list[Path] = []
"""Temporary files that were there after a kill."""


def _killed_until_it_ends(
    program: Program, folder: Path, drill: Drill, counts: Tally, drawn: random.Random, seconds: float
) -> list[str]:
    """Start it and kill it, again and again, until it comes to its end; what was found wrong."""
    faults: list[str] = []
    kept: dict[str, object] = {}
    while counts.tries < drill.kills // drill.groups:
        if not _killed(program, drill, folder, drawn, seconds, counts.tries % 2 == 1):
            break
        counts.tries += 1
        CAUGHT.extend(left_over(folder))
        counts.torn += len(broken := torn(folder))
        assert not broken, broken
        now = progress(folder)
        counts.lost += len(gone := lost(kept, now))
        faults, kept = faults + gone, now
    _run_to_the_end(program, drill, folder)
    counts.torn += len(broken := torn(folder))
    counts.lost += len(gone := lost(kept, progress(folder)))
    counts.left_over += len(parts := left_over(folder))
    return [*faults, *broken, *gone, *map(str, parts)]


def _killed(
    program: Program, drill: Drill, folder: Path, drawn: random.Random, seconds: float, while_writing: bool
) -> bool:
    """Let it run for a random time and, if asked for, up to its next writing, and kill it; whether it came to that."""
    started = _started(program, drill, folder)
    until = time.monotonic() + seconds * drawn.random() * (0.5 if while_writing else 1)
    while time.monotonic() < until and program.status() is None:
        time.sleep(0.002)
    while while_writing and program.status() is None and not left_over(started.folder):
        time.sleep(0.0002)
    if program.status() is None:  # until it is asked for, the number is that of no other process
        os.kill(started.pid, signal.SIGKILL)
    status = program.wait()
    assert status in (0, -signal.SIGKILL), started.said
    return status != 0


def _run_to_the_end(program: Program, drill: Drill, folder: Path) -> None:
    started = _started(program, drill, folder)
    assert program.wait() == 0, started.said


def _started(program: Program, drill: Drill, folder: Path) -> Started:
    folder.mkdir(exist_ok=True)
    return program.start(drill.module, folder, [word.format(folder=folder) for word in drill.arguments])


def _record(folder: Path) -> dict[str, object]:
    """All of it but how long it took, and in which sessions."""
    record = Record.load(folder / "record.json")
    assert record.finished
    entries = {name: value for name, value in vars(record).items() if name not in ("sessions", "summary")}
    return {name: untimed(value) for name, value in entries.items()}


@pytest.mark.parametrize("group", range(FIGURES.groups))
def test_killed_drawings_leave_whole_figures_and_the_next_one_nothing_else(
    group: int, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Counting
) -> None:
    monkeypatch.chdir(ROOT)
    folder, drawn = tmp_path / "figures", random.Random(f"figures {group}")
    with tally("kills: figures") as counts:
        begun = time.monotonic()
        _run_to_the_end(program, FIGURES, tmp_path / "undisturbed")
        seconds, whole = time.monotonic() - begun, _contents(tmp_path / "undisturbed")
        shutil.copytree(ROOT / "paper_figs" / "figures", folder)
        names, faults = _contents(folder).keys(), list[str]()
        while counts.tries < FIGURES.kills // FIGURES.groups:
            if not _killed(program, FIGURES, folder, drawn, seconds, counts.tries % 2 == 1):
                continue
            counts.tries += 1
            counts.torn += len(broken := torn(folder))
            counts.lost += len(gone := names - _contents(folder).keys())
            _draw_one(folder)
            counts.left_over += len(parts := left_over(folder))
            faults += [*broken, *gone, *map(str, parts)]
        _run_to_the_end(program, FIGURES, folder)
        assert _contents(folder).items() >= whole.items()
        counts.require_clean(faults)


def _draw_one(folder: Path) -> None:
    script = next(script for script in scripts() if script.name == ONE_FIGURE)
    draw_records(script.name, script.draw, None, folder, script.experiment)


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in files(folder)}
