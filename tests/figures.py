"""Comparison of two files of a figure: differences beyond what another processor's rounding explains.

Coordinates are sums and products of floats, and a processor with other vector instructions may round the last digit
differently. The effect on the files is bounded:

- PDF: coordinates are written with six digits, so the last one may differ. `POINTS` is far above that, and is a third
  of a micrometre on paper; a colour, between 0 and 1, changes by a quarter of one of its 255 levels.
- PNG: the levels of a pixel at the border of a shape depend on the area that the shape covers, so they change by one
  when that area rounds the other way, and by one more under a second shape: `LEVELS`. Lines are drawn at whole pixels:
  a line whose coordinate rounds the other way moves by one pixel, so each pixel may have a neighbour's colour.

Fonts are not compared: the text operators contain the positions of glyphs, and the PNG shows their shapes.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

POINTS = 1e-3
"""Largest difference allowed between numbers in a PDF, in 1/72 inch for coordinates."""
LEVELS = 2
"""Largest distance allowed, in 255 levels, between a pixel and the range of colours around it."""

_OBJECT = re.compile(rb"(\d+) 0 obj\n(.*?)\nendobj", re.DOTALL)
_STRING = rb"\((?:\\.|[^\\()])*\)"
_NUMBER = rb"[+-]?(?:\d+\.?\d*|\.\d+)"
_TOKEN = re.compile(rb"(?s:" + _STRING + rb"|/?[^\s()<>\[\]/]+|[^\s])")


class _Object(NamedTuple):
    """An object of a PDF: its dictionary or value, and its stream if it has one."""

    head: bytes
    stream: bytes | None

    @property
    def is_image(self) -> bool:
        return b"/Subtype /Image" in self.head

    @property
    def is_font(self) -> bool:
        return b"/Length1" in self.head


def difference(found: Path, expected: Path) -> str | None:
    """Return where two files of a figure, both PDF or both PNG, differ visibly; None if they do not."""
    if found.suffix == ".png":
        return difference_of_pixels(_pixels(found.read_bytes()), _pixels(expected.read_bytes()))
    return _difference_of_objects(_objects(found.read_bytes()), _objects(expected.read_bytes()))


def difference_of_pixels(found: np.ndarray, expected: np.ndarray) -> str | None:
    """Return where two images of shape (height, width, channels) differ; None if they do not."""
    if found.shape != expected.shape:
        return f"an image of shape {found.shape} instead of {expected.shape}"
    if np.array_equal(found, expected):
        return None
    beyond = np.maximum(_beyond_neighbours(found, expected), _beyond_neighbours(expected, found))
    if beyond.max(initial=0) <= LEVELS:
        return None
    row, column, _ = np.unravel_index(beyond.argmax(), beyond.shape)
    return (
        f"{int((beyond.max(axis=2) > LEVELS).sum())} pixels differ, that at ({row}, {column}) by {beyond.max()} levels"
    )


def difference_of_text(found: bytes, expected: bytes) -> str | None:
    """Return the first operator, name, text or number in which two content streams differ; None if there is none."""
    for place, (a, b) in enumerate(zip_longest(_TOKEN.findall(found), _TOKEN.findall(expected), fillvalue=b"nothing")):
        if a != b and not _nearly_equal(a, b):
            return f"token {place} is {a.decode('latin-1')} instead of {b.decode('latin-1')}"
    return None


def _nearly_equal(a: bytes, b: bytes) -> bool:
    numbers = re.fullmatch(_NUMBER, a) and re.fullmatch(_NUMBER, b)
    return bool(numbers) and abs(float(a) - float(b)) <= POINTS


def _beyond_neighbours(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the distance of each pixel from the range of the other image's 3×3 pixels around it."""
    low, high = (extreme(other, size=(3, 3, 1)).astype(int) for extreme in (minimum_filter, maximum_filter))
    return np.maximum(low - image, image - high)


def _pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def _objects(pdf: bytes) -> dict[int, _Object]:
    """Return all objects except the lengths of streams, which depend on the compression."""
    found = {int(number): _object(content) for number, content in _OBJECT.findall(pdf)}
    lengths = {int(number) for number in re.findall(rb"/Length (\d+) 0 R", pdf)}
    return {number: found[number] for number in sorted(found.keys() - lengths)}


def _object(content: bytes) -> _Object:
    head, separator, stream = content.partition(b"\nstream\n")
    if not separator:
        return _Object(content, None)
    return _Object(re.sub(rb"/Length \d+", b"/Length", head), stream.removesuffix(b"\nendstream"))


def _difference_of_objects(found: dict[int, _Object], expected: dict[int, _Object]) -> str | None:
    if found.keys() != expected.keys():
        return f"{len(found)} objects instead of {len(expected)}"
    reasons = ((number, _difference_of(found[number], expected[number])) for number in found)
    return next((f"object {number}: {reason}" for number, reason in reasons if reason is not None), None)


def _difference_of(found: _Object, expected: _Object) -> str | None:
    if found.is_image and expected.is_image:
        return difference_of_pixels(_pixels(_as_png(found)), _pixels(_as_png(expected)))
    if found.stream is None or expected.stream is None or found.is_font:
        return difference_of_text(found.head, expected.head)
    streams = (zlib.decompress(part) for part in (found.stream, expected.stream))
    return difference_of_text(found.head, expected.head) or difference_of_text(*streams)


def _as_png(image: _Object) -> bytes:
    """The image as a PNG file: matplotlib compresses it as PNG does, and only the chunks around it are wanting."""
    assert image.stream is not None
    palette = re.search(rb"/Indexed /DeviceRGB \d+\s*\((.*)\) \]", image.head, re.DOTALL)
    bits = _integer(image.head, b"BitsPerComponent")
    size = _integer(image.head, b"Width"), _integer(image.head, b"Height")
    colour_type = 3 if palette else {1: 0, 3: 2}[_integer(image.head, b"Colors")]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", *size, bits, colour_type, 0, 0, 0))]
    if palette:
        chunks.append((b"PLTE", _unescaped(palette[1])))
    chunks += [(b"IDAT", image.stream), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunks(chunks))


def _chunks(chunks: list[tuple[bytes, bytes]]) -> Iterator[bytes]:
    for name, data in chunks:
        yield struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _integer(head: bytes, name: bytes) -> int:
    found = re.search(rb"/" + name + rb"\s+(\d+)", head)
    assert found is not None, name
    return int(found[1])


def _unescaped(string: bytes) -> bytes:
    """The bytes of a PDF string literal."""
    letters = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
    return re.sub(rb"\\(.)", lambda found: letters.get(found[1], found[1]), string, flags=re.DOTALL)
