"""Pictures are decoded as a viewer shows them and masks as they were saved; other files are refused by name."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from odenet.data.image_files import is_turned, read_mask, read_picture

ORIENTATION = 0x0112
RAMP = np.linspace(0, 65535, 64 * 64).reshape(64, 64)


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def grey_png(path: Path, depth: int, rows: list[bytes], clear: int | None = None) -> None:
    """Write a grey PNG of few bits or with a transparent value, which Pillow cannot write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 8 * len(rows[0]) // depth, len(rows), depth, 0, 0, 0, 0)
    transparent = b"" if clear is None else chunk(b"tRNS", struct.pack(">H", clear))
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = chunk(b"IHDR", header) + transparent + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


@pytest.mark.parametrize("suffix", ["png", "tif", "ppm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_become_8_with_all_greys_between_black_and_white(tmp_path: Path, suffix: str, channels: int):
    Image.fromarray(RAMP.astype(np.uint16)).save(tmp_path / f"a.{suffix}")
    picture = read_picture(tmp_path / f"a.{suffix}", channels)
    assert picture.shape == (channels, 64, 64)
    expected = torch.from_numpy(np.rint(RAMP.astype(np.uint16) / 257).astype(np.uint8))
    assert all(torch.equal(channel, expected) for channel in picture)
    assert len(picture.unique()) == 256


def test_the_byte_order_of_16_bits_does_not_matter(tmp_path: Path):
    Image.fromarray(np.full((2, 3), 257 * 7, ">u2")).save(tmp_path / "a.tif")
    assert (read_picture(tmp_path / "a.tif") == 7).all()


@pytest.mark.parametrize(("mode", "suffix"), [("F", "tif"), ("I", "tif")])
def test_numbers_of_which_none_is_white_are_refused_by_their_mode(tmp_path: Path, mode: str, suffix: str):
    Image.fromarray(RAMP.astype(np.float32)).convert(mode).save(tmp_path / f"a.{suffix}")
    with pytest.raises(ValueError, match=rf"a.{suffix}' of mode {mode} cannot be read as a picture: such"):
        read_picture(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize(("mode", "suffix"), [("1", "png"), ("L", "png"), ("P", "png"), ("RGB", "png"), ("P", "gif")])
@pytest.mark.parametrize("channels", [1, 3])
def test_opaque_pictures_are_what_pillow_shows(tmp_path: Path, mode: str, suffix: str, channels: int):
    Image.fromarray(noise(6, 9, 3)).convert(mode).save(tmp_path / f"a.{suffix}")
    with Image.open(tmp_path / f"a.{suffix}") as opened:
        shown = np.array(opened.convert({1: "L", 3: "RGB"}[channels])).reshape(6, 9, channels)
    assert torch.equal(read_picture(tmp_path / f"a.{suffix}", channels).permute(1, 2, 0), torch.from_numpy(shown))


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_becomes_the_light_that_the_inks_leave(tmp_path: Path, suffix: str):
    inks = np.broadcast_to(np.array([200, 50, 0, 30], np.uint8), (16, 16, 4))
    Image.fromarray(inks, "CMYK").save(tmp_path / f"a.{suffix}", quality=100)
    expected = [(255 - ink) * (255 - 30) / 255 for ink in (200, 50, 0)]
    assert read_picture(tmp_path / f"a.{suffix}").float().mean(dim=(1, 2)).tolist() == pytest.approx(expected, abs=2)


def on_white(shade: float, alpha: float) -> float:
    return (alpha * shade + (255 - alpha) * 255) / 255


@pytest.mark.parametrize(("mode", "suffix"), [("RGBA", "png"), ("LA", "png"), ("RGBA", "tif"), ("LA", "tif")])
@pytest.mark.parametrize("channels", [1, 3])
def test_through_what_is_transparent_a_white_page_shows(tmp_path: Path, mode: str, suffix: str, channels: int):
    layers = np.full((2, 3, len(mode)), 40, np.uint8)
    layers[..., -1] = [0, 128, 255]
    Image.fromarray(layers).save(tmp_path / f"a.{suffix}")
    picture = read_picture(tmp_path / f"a.{suffix}", channels)
    assert picture[:, 0].T.tolist() == [[round(on_white(40, alpha))] * channels for alpha in (0, 128, 255)]


def test_a_white_page_shows_through_a_transparent_entry_of_a_palette(tmp_path: Path):
    picture = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.save(tmp_path / "a.png", transparency=0)
    assert read_picture(tmp_path / "a.png")[:, 0].T.tolist() == [[255, 255, 255], [40, 50, 60]]


@pytest.mark.parametrize(("depth", "row", "clear", "expected"), [(8, b"\5\6", 5, 6), (16, b"\1\1\2\2", 257, 2)])
def test_a_white_page_shows_through_transparent_grey(tmp_path: Path, depth: int, row: bytes, clear: int, expected: int):
    grey_png(tmp_path / "a.png", depth, [row], clear)
    assert read_picture(tmp_path / "a.png")[0, 0].tolist() == [255, expected]


def test_an_alpha_channel_that_hides_nothing_changes_nothing(tmp_path: Path):
    colours = noise(6, 9, 3)
    Image.fromarray(np.dstack([colours, np.full((6, 9), 255, np.uint8)])).save(tmp_path / "a.png")
    assert torch.equal(read_picture(tmp_path / "a.png").permute(1, 2, 0), torch.from_numpy(colours))


def test_a_picture_of_which_nothing_is_to_be_seen_is_refused(tmp_path: Path):
    Image.fromarray(np.dstack([noise(6, 9, 3), np.zeros((6, 9), np.uint8)])).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a.png' is transparent everywhere, so it shows nothing"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["picture", "mask", "picture of 16 bits"])
def test_pictures_and_masks_are_turned_as_their_exif_says(tmp_path: Path, orientation: int, kind: str):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    grey = noise(5, 8)
    stored = grey.astype(np.uint16) * 257 if "16" in kind else grey
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    found = read_mask(tmp_path / "a.png") if kind == "mask" else read_picture(tmp_path / "a.png", 1)[0]
    with Image.open(tmp_path / "a.png") as opened:
        shown = np.array(ImageOps.exif_transpose(opened)) // (257 if "16" in kind else 1)
    assert found.tolist() == shown.tolist()
    assert is_turned(tmp_path / "a.png") == (orientation > 1)


@pytest.mark.parametrize("read", [read_picture, read_mask])
@pytest.mark.parametrize("suffix", ["gif", "png", "tif"])
def test_one_frame_of_several_is_not_chosen_for_the_user(tmp_path: Path, suffix: str, read: Any):
    frames = [Image.fromarray(noise(6, 9) // 2 * k) for k in (0, 1, 2)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=rf"a.{suffix}' has 3 frames, but an image has one"):
        read(tmp_path / f"a.{suffix}")


def test_of_the_two_pictures_of_a_phone_the_first_is_read(tmp_path: Path):
    first, second = (Image.fromarray(np.full((16, 16), value, np.uint8)) for value in (50, 200))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    assert read_picture(tmp_path / "a.jpg").float().mean() == pytest.approx(50, abs=1)


@pytest.mark.parametrize("read", [read_picture, read_mask])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif"])
def test_a_file_cut_short_is_named(tmp_path: Path, suffix: str, share: float, read: Any):
    file = tmp_path / f"cut.{suffix}"
    Image.fromarray(noise(60, 90)).save(file)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=rf"cut.{suffix}' cannot be read as an image \("):
        read(file)


@pytest.mark.parametrize("read", [read_picture, read_mask])
def test_a_file_that_is_not_there_and_a_folder_are_said_to_be_so(tmp_path: Path, read: Any):
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        read(tmp_path / "gone.png")
    with pytest.raises(OSError, match=tmp_path.name):
        read(tmp_path)


@pytest.mark.parametrize("read", [read_picture, read_mask])
def test_a_picture_that_would_fill_the_memory_is_named(tmp_path: Path, read: Any, monkeypatch: pytest.MonkeyPatch):
    Image.fromarray(noise(60, 90)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"bomb.png' cannot be read \(.*exceeds limit.*raise PIL.Image"):
        read(tmp_path / "bomb.png")


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_class_numbers_in_few_bits_are_those_in_the_file(tmp_path: Path, depth: int):
    grey_png(tmp_path / "a.png", depth, [bytes([0b00011011])])
    expected = {1: [0, 0, 0, 1, 1, 0, 1, 1], 2: [0, 1, 2, 3], 4: [1, 11], 8: [27]}[depth]
    assert read_mask(tmp_path / "a.png").tolist() == [expected]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_class_numbers_in_16_bits_are_those_in_the_file(tmp_path: Path, suffix: str):
    Image.fromarray(np.array([[0, 1, 300]], np.uint16)).save(tmp_path / f"a.{suffix}")
    assert read_mask(tmp_path / f"a.{suffix}").tolist() == [[0, 1, 300]]


@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_masks_of_one_number_a_pixel_give_that_number(tmp_path: Path, mode: str):
    image = Image.new(mode, (3, 2), 1)
    if mode == "P":
        image.putpalette([9, 9, 9] * 256)
    image.save(tmp_path / "a.png")
    assert (read_mask(tmp_path / "a.png") == 1).all()


@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf")])
def test_fractions_are_no_class_numbers(tmp_path: Path, value: float):
    Image.fromarray(np.array([[0, 1, value]], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=rf"a.tif' has the value {value:g}, which is not a whole number"):
        read_mask(tmp_path / "a.tif")


def test_whole_numbers_among_floats_are_class_numbers(tmp_path: Path):
    Image.fromarray(np.array([[0, 1, 2]], np.float32)).save(tmp_path / "a.tif")
    assert read_mask(tmp_path / "a.tif").tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "CMYK"])
def test_masks_in_colour_or_transparent_are_refused_by_their_mode(tmp_path: Path, mode: str):
    Image.fromarray(noise(6, 9, 3)).convert(mode).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=rf"a.tif' of mode {mode} cannot be read: the pixels of a mask are class"):
        read_mask(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("name", "options", "form"),
    [
        ("a.jpg", {}, "JPEG"),
        ("a.png", {"format": "JPEG"}, "JPEG"),
        ("a.webp", {}, "WEBP"),
        ("a.pgm", {}, "PPM"),
        ("a.tif", {"compression": "jpeg"}, "TIFF with .*jpeg"),
    ],
)
def test_masks_that_may_have_lost_their_numbers_are_refused(tmp_path: Path, name: str, options: Any, form: str):
    Image.fromarray(noise(16, 16)).save(tmp_path / name, **options)
    with pytest.raises(ValueError, match=rf"{name}' has the format {form}, which may change the numbers"):
        read_mask(tmp_path / name)
