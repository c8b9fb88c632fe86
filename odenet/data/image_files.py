"""Reading of image files as tensors: pictures as upright, opaque bytes, and masks as the numbers in their pixels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from odenet.data.extras import data_package

MODES = {1: "L", 3: "RGB"}
"""Pillow's mode for a picture, by the number of channels."""

_BYTES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}
"""Modes of at most 8 bits per channel, which Pillow converts correctly."""

_WHOLE = ("I", "I;16", "I;16L", "I;16B", "I;16N")
"""Modes of more than 8 bits, whose values Pillow would clip at 255."""

_SIXTEEN_BITS = ("PNG", "PPM")
"""Formats whose values in mode I range from 0 to 65535."""

_EXACT = ("PNG", "BMP", "GIF", "TIFF")
"""Formats that return the numbers that were saved; Pillow scales the values of a PPM to 255."""

_SCALES = {"L;2": 85, "L;4": 17}
"""Factors by which Pillow multiplies grey values of 2 and 4 bits, so that the largest is 255."""

_ORIENTATION = 0x0112


class _Decoded(NamedTuple):
    """A decoded, upright image, and properties of its file that decoding loses."""

    picture: Any
    mode: str
    """Pillow's mode of the file."""
    raw_mode: str
    """Pillow's name of the packing of pixels in the file."""
    turned: bool
    """Whether it has been turned upright."""


def read_picture(file: str | os.PathLike[str], channels: int = 3) -> Tensor:
    """Read the picture in an image file as an image viewer shows it: uint8, (channels, H, W).

    - The picture is upright: turned and mirrored as its EXIF orientation says.
    - Transparent pixels are blended with a white background.
    - 16 bits become 8 by v ↦ v/257, rounded, so that black stays black and white stays white, without stretching the
      contrast. For colour images of 16 bits, Pillow keeps the upper 8.
    - CMYK becomes R = 255·(1 - C)(1 - K). No colour profile is applied.
    - Colour becomes grey by the luma of ITU-R 601, and grey becomes colour with three equal channels.

    Args:
        file: PNG, JPEG or another format that Pillow reads.
        channels: Number of channels: 3 for colour, 1 for grey.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is not an image, is damaged, has several frames, is fully transparent, or holds numbers
            without a known white value: floats, or whole numbers of 32 bits.
    """
    decoded = _decoded(file)
    if decoded.mode in _WHOLE:
        return _grey_of_whole_numbers(file, decoded).expand(channels, -1, -1).clone()
    if decoded.mode not in _BYTES:
        raise _no_white(file, decoded.mode)
    with _errors_that_name(file):
        opaque = _on_white(decoded.picture)
        pixels = _array(opaque.convert(MODES[channels])) if opaque is not None else None
    if pixels is None:
        raise ValueError(
            f"'{file}' is transparent everywhere, so it shows nothing: save it without its alpha channel if that "
            "channel means something else, or leave it out."
        )
    return torch.from_numpy(pixels).view(*pixels.shape[:2], channels).permute(2, 0, 1)


def read_mask(file: str | os.PathLike[str]) -> Tensor:
    """Read the numbers in the pixels of a mask (grey values, palette indices, or single bits): int64, (H, W).

    The mask is turned upright like a picture. Grey values of 2 and 4 bits are 0 to 3 and 0 to 15, as in the file.

    Args:
        file: File in the format PNG, BMP, GIF or TIFF.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is not an image, is damaged, has several frames, is in colour, holds numbers that are
            not whole, or was compressed with loss.
    """
    decoded = _decoded(file)
    _require_exact(file, decoded.picture)
    if decoded.mode not in ("1", "L", "P", "F", *_WHOLE):
        raise ValueError(
            f"the mask '{file}' of mode {decoded.mode} cannot be read: the pixels of a mask are class numbers, not "
            "colours; save it as a PNG with grey values or with a palette."
        )
    values = _array(decoded.picture)
    if decoded.mode == "F" and len(bad := _fractions(torch.from_numpy(values))):
        raise ValueError(
            f"the mask '{file}' has the value {bad[0]:g}, which is not a whole number: the pixels of a mask are class "
            "numbers; save it as a PNG with grey values or with a palette."
        )
    return torch.from_numpy(values.astype("int64")) // _SCALES.get(decoded.raw_mode, 1)


def is_turned(file: str | os.PathLike[str]) -> bool:
    """Return whether a viewer turns or mirrors this image because of its EXIF orientation."""
    return _decoded(file).turned


def _decoded(file: str | os.PathLike[str]) -> _Decoded:
    with _errors_that_name(file), data_package("PIL.Image").open(file) as picture:
        frames, mode, raw_mode = getattr(picture, "n_frames", 1), picture.mode, _raw_mode(picture)
        picture.load()
        turned = picture.getexif().get(_ORIENTATION, 1) in range(2, 9)
        data_package("PIL.ImageOps").exif_transpose(picture, in_place=True)
    if frames > 1 and picture.format != "MPO":  # MPO: a phone's photograph, whose second frame may hold depth
        raise ValueError(
            f"'{file}' has {frames} frames, but an image has one: it is an animation or has several pages; save the "
            "frame that you need as a PNG."
        )
    return _Decoded(picture, mode, raw_mode, turned)


@contextmanager
def _errors_that_name(file: str | os.PathLike[str]) -> Iterator[None]:
    """Turn Pillow's exceptions into messages that name the file."""
    too_large = data_package("PIL.Image").DecompressionBombError
    try:
        yield
    except too_large as error:
        raise ValueError(
            f"'{file}' cannot be read ({error}): an image of that size may be made to exhaust the memory. If you trust "
            "it, raise PIL.Image.MAX_IMAGE_PIXELS, or save it smaller."
        ) from error
    except Exception as error:  # Pillow raises a dozen types for invalid bytes
        if isinstance(error, OSError) and error.errno is not None:  # a file-system error names the file already
            raise
        raise ValueError(
            f"'{file}' cannot be read as an image ({error}): it is damaged, or not a PNG or JPEG; save it again, or "
            "leave it out."
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
    """Select the values that are not whole numbers, including NaN and infinity."""
    return values[~(values.isfinite() & (values == values.trunc()))]


def _no_white(file: str | os.PathLike[str], mode: str) -> ValueError:
    return ValueError(
        f"'{file}' of mode {mode} cannot be read as a picture: such numbers have no fixed values for black and white; "
        "scale them yourself, and save a PNG of 8 or 16 bits."
    )


def _on_white(picture: Any) -> Any:
    """Blend the picture with a white background; return None if it is transparent everywhere."""
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
        kind = f"{picture.format} with {compression}" if picture.format in _EXACT else picture.format
        raise ValueError(
            f"the mask '{file}' has the format {kind}, which may change the numbers that were saved: save the mask as "
            "a PNG, from the original and not from this file."
        )
