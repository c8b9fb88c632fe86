"""Image files as tensors: a picture as bytes, upright and opaque; a mask as the numbers that its pixels hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from odenet.data.extras import data_package

MODES = {1: "L", 3: "RGB"}
"""Pillow's name of what a picture is read as, by the number of channels."""

_BYTES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}
"""Modes of 8 bits or fewer a channel, which Pillow converts."""

_WHOLE = ("I", "I;16", "I;16L", "I;16B", "I;16N")
"""Modes of more bits, which Pillow would cut off at 255."""

_SIXTEEN_BITS = ("PNG", "PPM")
"""Formats whose numbers of mode I go from 0 to 65535."""

_EXACT = ("PNG", "BMP", "GIF", "TIFF")
"""Formats that give back the numbers that were saved; Pillow scales those of a PPM to 255."""

_SCALES = {"L;2": 85, "L;4": 17}
"""What Pillow multiplies grey values of 2 and 4 bits by, so that the largest is 255."""

_ORIENTATION = 0x0112


class _Decoded(NamedTuple):
    """A decoded image, upright, and what decoding makes it forget."""

    picture: Any
    mode: str
    """Of the file."""
    raw_mode: str
    """How the file packs its pixels."""
    turned: bool
    """Whether it has been turned upright."""


def read_picture(file: str | os.PathLike[str], channels: int = 3) -> Tensor:
    """The picture in an image file as an image viewer shows it: uint8, (channels, H, W).

    - It is upright: turned and mirrored as its EXIF orientation says.
    - Where it is transparent, a white page shows through.
    - 16 bits become 8 by v ↦ v/257, rounded, so that black stays black and white white, with no stretch of the
      contrast. Of 16 bits in colour Pillow keeps the upper 8.
    - CMYK becomes R = 255·(1 - C)(1 - K), whatever its colour profile. No colour profile is applied.
    - Colour becomes grey by the luma of ITU-R 601, and grey becomes colour with three equal channels.

    Args:
        file: PNG, JPEG or another format that Pillow reads.
        channels: 3 for colour, 1 for grey.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no image, is damaged, has several frames, is wholly transparent, or holds numbers of which
            none is known to be white: floats, or whole numbers of 32 bits.
    """
    decoded = _decoded(file)
    if decoded.mode in _WHOLE:
        return _grey_of_whole_numbers(file, decoded).expand(channels, -1, -1).clone()
    if decoded.mode not in _BYTES:
        raise _no_white(file, decoded.mode)
    with _naming(file):
        opaque = _on_white(decoded.picture)
        pixels = _array(opaque.convert(MODES[channels])) if opaque is not None else None
    if pixels is None:
        raise ValueError(
            f"'{file}' is transparent everywhere, so nothing of it is to be seen: save it without its alpha channel if "
            "that means something else, or leave it out."
        )
    return torch.from_numpy(pixels).view(*pixels.shape[:2], channels).permute(2, 0, 1)


def read_mask(file: str | os.PathLike[str]) -> Tensor:
    """The numbers that the pixels of a mask hold: int64, (H, W); grey values, indices of a palette, 0 and 1 of one bit.

    It is turned upright as a picture is. Grey values of 2 and 4 bits are 0 to 3 and 0 to 15, as they stand in the file.

    Args:
        file: PNG, BMP, GIF or TIFF.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no image, is damaged, has several frames, is in colour, holds numbers that are not whole, or
            has been compressed with loss.
    """
    decoded = _decoded(file)
    _require_exact(file, decoded.picture)
    if decoded.mode not in ("1", "L", "P", "F", *_WHOLE):
        raise ValueError(
            f"the mask '{file}' of mode {decoded.mode} cannot be read: pixels of a mask are class numbers, not "
            "colours; save it as a PNG of grey values or of a palette."
        )
    values = _array(decoded.picture)
    if decoded.mode == "F" and len(bad := _fractions(torch.from_numpy(values))):
        raise ValueError(
            f"the mask '{file}' has the value {bad[0]:g}, which is no whole number: pixels of a mask are class "
            "numbers; save it as a PNG of grey values or of a palette."
        )
    return torch.from_numpy(values.astype("int64")) // _SCALES.get(decoded.raw_mode, 1)


def is_turned(file: str | os.PathLike[str]) -> bool:
    """Whether a viewer turns or mirrors this image, since its EXIF orientation says so."""
    return _decoded(file).turned


def _decoded(file: str | os.PathLike[str]) -> _Decoded:
    with _naming(file), data_package("PIL.Image").open(file) as picture:
        frames, mode, raw_mode = getattr(picture, "n_frames", 1), picture.mode, _raw_mode(picture)
        picture.load()
        turned = picture.getexif().get(_ORIENTATION, 1) in range(2, 9)
        data_package("PIL.ImageOps").exif_transpose(picture, in_place=True)
    if frames > 1 and picture.format != "MPO":  # a photograph of a phone, with a second one for depth
        raise ValueError(
            f"'{file}' has {frames} frames, and one of them is to be read: it is an animation or has several pages; "
            "save the frame that is meant as a PNG."
        )
    return _Decoded(picture, mode, raw_mode, turned)


@contextmanager
def _naming(file: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever Pillow raises about a file, it says which file."""
    bomb = data_package("PIL.Image").DecompressionBombError
    try:
        yield
    except bomb as error:
        raise ValueError(
            f"'{file}' cannot be read ({error}): a file that size may be meant to fill the memory. If it is honest, "
            "raise PIL.Image.MAX_IMAGE_PIXELS, or save it smaller."
        ) from error
    except Exception as error:  # Pillow raises a dozen types for bytes that are no image
        if isinstance(error, OSError) and error.errno is not None:  # of the file system, which names the file
            raise
        raise ValueError(
            f"'{file}' cannot be read as an image ({error}): it is damaged, or no PNG or JPEG; save it anew, or leave "
            "it out."
        ) from error


def _raw_mode(picture: Any) -> str:
    arguments = picture.tile[0][3] if picture.tile else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _array(picture: Any) -> Any:
    return data_package("numpy").array(picture)


def _grey_of_whole_numbers(file: str | os.PathLike[str], decoded: _Decoded) -> Tensor:
    picture, values = decoded.picture, torch.from_numpy(_array(decoded.picture).astype("int64"))
    if decoded.mode == "I" and picture.format not in _SIXTEEN_BITS:
        raise _no_white(file, decoded.mode)
    grey = (values + 128) // 257
    if isinstance(clear := picture.info.get("transparency"), int):
        grey[values == clear] = 255
    return grey.to(torch.uint8)


def _fractions(values: Tensor) -> Tensor:
    """Those of the values that are no whole numbers, NaN and infinite ones among them."""
    return values[~(values.isfinite() & (values == values.trunc()))]


def _no_white(file: str | os.PathLike[str], mode: str) -> ValueError:
    return ValueError(
        f"'{file}' of mode {mode} cannot be read as a picture: of such numbers none is known to be black and none "
        "white; scale them yourself, and save a PNG of 8 or 16 bits."
    )


def _on_white(picture: Any) -> Any:
    """The picture without transparency; None if nothing of it is to be seen."""
    if not picture.has_transparency_data:
        return picture
    straight = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
    if straight.getextrema()[3][1] == 0:
        return None
    image = data_package("PIL.Image")
    return image.alpha_composite(image.new("RGBA", straight.size, "white"), straight).convert("RGB")


def _require_exact(file: str | os.PathLike[str], picture: Any) -> None:
    compression = str(picture.info.get("compression", ""))
    if picture.format not in _EXACT or "jpeg" in compression or "webp" in compression:
        how = f"{picture.format} with {compression}" if picture.format in _EXACT else picture.format
        raise ValueError(
            f"the mask '{file}' is a file of format {how}, which need not give back the numbers that were saved: save "
            "the mask as PNG, from the original and not from this file."
        )
