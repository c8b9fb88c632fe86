"""The comparison of figures ignores effects of rounding and reports every visible difference."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from paper_figs.support.style import save
from tests.figures import LEVELS, POINTS, difference, difference_of_pixels, difference_of_text


def drawn(folder: Path, *, y: float = 1.0, title: str = "6", ink: float = 0.5, face: str = "#0072B2") -> list[Path]:
    """Draw a figure with lines, text and two images, one with a palette and one with more than 256 colours."""
    figure = Figure(figsize=(3, 2))
    line, few, many = figure.subplots(1, 3)
    line.plot([0.0, 1.0, 2.0], [0.0, y, 0.5], "-o", color=face)
    line.set(title=title, ylim=(-1, 3))
    few.imshow(np.array([[0.0, ink], [1.0, 0.25]]))
    many.imshow(np.random.default_rng(0).random((40, 40, 3)) * np.linspace(2 * ink, 1, 40)[:, None, None])
    return save(figure, folder / "figure")


def differing(folder: Path, *, before: dict[str, object] | None = None, **after: object) -> list[str]:
    """Return the extensions of the files that differ between two figures."""
    pairs = zip(drawn(folder / "a", **(before or {})), drawn(folder / "b", **after), strict=True)  # pyright: ignore
    return [found.suffix for found, expected in pairs if difference(found, expected) is not None]


def with_stream(pdf: Path, change: Callable[[bytes], bytes]) -> Path:
    """Copy the PDF with another first content stream."""
    content = pdf.read_bytes()
    found = re.search(rb"stream\n(.*?)\nendstream", content, re.DOTALL)
    assert found is not None
    altered = pdf.with_name("altered.pdf")
    altered.write_bytes(content.replace(found[1], zlib.compress(change(zlib.decompress(found[1]))), 1))
    return altered


def test_a_figure_is_the_same_as_itself(tmp_path):
    assert differing(tmp_path) == []


@pytest.mark.parametrize("rounded", [{"y": 1 + 1e-9}, {"y": 1 - 1e-6}])
def test_what_rounding_moves_is_no_difference(rounded, tmp_path):
    assert differing(tmp_path, **rounded) == []


@pytest.mark.parametrize("changed", [{"y": 1.1}, {"title": "8"}, {"title": "66"}, {"ink": 0.6}, {"face": "#0082B2"}])
def test_what_a_reader_would_see_is_a_difference_in_both_files(changed, tmp_path):
    assert differing(tmp_path, **changed) == [".pdf", ".png"]


def test_the_last_digits_of_a_pdf_may_differ_and_no_more(tmp_path):
    pdf, _ = drawn(tmp_path)

    def moved(by: float) -> Path:
        return with_stream(pdf, lambda text: re.sub(rb"\d+\.\d{6}", lambda n: b"%.6f" % (float(n[0]) + by), text))

    assert moved(2e-6).read_bytes() != pdf.read_bytes()
    assert difference(moved(2e-6), pdf) is None
    assert "instead of" in str(difference(moved(2 * POINTS), pdf))


@pytest.mark.parametrize(
    ("found", "expected", "token"),
    [
        (b"1 0 0 rg", b"1 0 0 RG", 3),
        (b"[ (6 m) ] TJ", b"[ (8 m) ] TJ", 1),
        (b"(a\\)1.0000) Tj", b"(a\\)1.0001) Tj", 0),
        (b"/F1 8.5 Tf", b"/F2 8.5 Tf", 0),
        (b"1 2 m 3 4 l", b"1 2 m", 3),
        (b"-1 2 m", b"1 2 m", 0),
        (b"1.002 2 m", b"1 2 m", 0),
    ],
)
def test_operators_names_and_texts_are_compared_exactly_and_numbers_nearly(found, expected, token):
    assert str(difference_of_text(found, expected)).startswith(f"token {token} is")
    assert difference_of_text(found, found) is None


def test_an_edge_may_lie_a_pixel_away_and_two_levels_lighter():
    def image(row: int, level: int = 0) -> np.ndarray:
        pixels = np.full((20, 30, 4), 255, dtype=np.uint8)
        pixels[row : row + 2, :, :3] = level
        return pixels

    assert difference_of_pixels(image(9), image(10)) is None
    assert difference_of_pixels(image(9, LEVELS), image(9)) is None
    assert str(difference_of_pixels(image(9, LEVELS + 1), image(9))).startswith("60 pixels differ")
    assert difference_of_pixels(image(9), image(11)) is not None
    assert "shape (20, 30, 4)" in str(difference_of_pixels(image(9), image(9)[:, :-1]))


def test_a_figure_that_lacks_an_object_is_another(tmp_path):
    pdf, _ = drawn(tmp_path)
    lacking = tmp_path / "lacking.pdf"
    image = rb"\d+ 0 obj\n(?:(?!endobj).)*/Subtype /Image.*?\nendobj"
    lacking.write_bytes(re.sub(image, b"", pdf.read_bytes(), count=1, flags=re.DOTALL))
    assert "objects instead of" in str(difference(lacking, pdf))
