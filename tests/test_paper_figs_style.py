"""Files of figures are complete, even if drawing them is interrupted."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from odenet.training.files import CannotWrite
from paper_figs.support.style import save


def figure(slope: float) -> Figure:
    drawn = Figure(figsize=(3.5, 2.5))
    drawn.subplots().plot([0, 1], [0, slope])
    return drawn


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_figure_is_a_pdf_and_a_png_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        files = save(figure(1), tmp_path / name / "figure-cpu.v2")
        assert [file.name for file in files] == ["figure-cpu.v2.pdf", "figure-cpu.v2.png"]
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert [content[:4] for content in contents(tmp_path / "a").values()] in (
        [b"%PDF", b"\x89PNG"],
        [b"\x89PNG", b"%PDF"],
    )


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("form", ["pdf", "png"])
def test_a_drawing_that_fails_leaves_the_former_files(form: str, error: type[BaseException], tmp_path: Path) -> None:
    class Failing(Figure):
        def savefig(self, fname: Any, **options: Any) -> None:
            if options["format"] == form:
                fname.write(b"half a file")
                raise error
            super().savefig(fname, **options)

    save(figure(1), tmp_path / "figure")
    before = contents(tmp_path)
    with pytest.raises(error):
        save(Failing(), tmp_path / "figure")
    assert contents(tmp_path)[f"figure.{form}"] == before[f"figure.{form}"]
    assert len(contents(tmp_path)) == 2


def test_a_folder_that_cannot_be_made_is_reported_with_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match=r"the figure .*file/figure\.pdf cannot be written"):
        save(figure(1), tmp_path / "file" / "figure")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are copies")
def test_killed_at_any_moment_a_drawing_leaves_whole_files_and_the_next_one_nothing_else(tmp_path: Path) -> None:
    pictures = [figure(1), figure(2)]
    whole: dict[str, set[bytes]] = {"figure.pdf": set(), "figure.png": set()}
    for picture in pictures:
        save(picture, tmp_path / "figure")
        for name, content in contents(tmp_path).items():
            whole[name].add(content)
    assert {len(versions) for versions in whole.values()} == {2}

    drawn = random.Random(0)
    for _ in range(12):
        child = os.fork()
        if child == 0:
            try:
                while True:
                    for picture in pictures:
                        save(picture, tmp_path / "figure")
            finally:
                os._exit(1)
        time.sleep(0.3 * drawn.random())
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        assert all((tmp_path / name).read_bytes() in versions for name, versions in whole.items())
    save(pictures[0], tmp_path / "figure")
    assert set(contents(tmp_path)) == set(whole)
