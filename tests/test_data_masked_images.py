"""Images and masks in files: pairs are found, and what does not fit together is named."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from odenet.data import MaskedImages, masked_folder, voc2012
from odenet.data.masked_images import VOC_CLASSES


def write(folder: Path, name: str = "a", *, size: tuple[int, int] = (6, 9), mask: object = None) -> None:
    """A pair of files; the mask of class 1 by default."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
    Image.fromarray(np.ones(size, np.uint8) if mask is None else np.asarray(mask, np.uint8)).save(
        folder / "masks" / f"{name}.png"
    )


def test_pairs_are_found_by_name_and_read_as_they_are(tmp_path):
    mask = np.arange(54, dtype=np.uint8).reshape(6, 9) % 2 * 255
    write(tmp_path, "b")
    write(tmp_path, "a", mask=mask)
    pairs = masked_folder(tmp_path, ["ground", "thing"])
    assert [file.name for file in pairs.images] == ["a.png", "b.png"]
    image, found = pairs.read(0)
    assert image.shape == (3, 6, 9)
    assert np.array_equal(found.numpy(), mask)
    with Image.open(tmp_path / "images" / "a.png") as picture:
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.array(picture))


def test_of_a_palette_the_numbers_count(tmp_path):
    write(tmp_path)
    mask = Image.fromarray(np.full((6, 9), 2, np.uint8), "P")
    mask.putpalette([200, 100, 0] * 256)
    mask.save(tmp_path / "masks" / "a.png")
    assert (masked_folder(tmp_path, ["x", "y", "z"]).read(0)[1] == 2).all()


def test_grey_images_become_colour(tmp_path):
    write(tmp_path)
    Image.fromarray(np.full((6, 9), 7, np.uint8)).save(tmp_path / "images" / "a.png")
    assert (masked_folder(tmp_path, ["x", "y"]).read(0)[0] == 7).all()


def test_a_mask_of_another_size_is_refused_with_both(tmp_path):
    write(tmp_path, mask=np.ones((6, 8)))
    with pytest.raises(ValueError, match=r"masks/a.png' of 6×8 pixels cannot go with the image 'a.png' of 6×9"):
        masked_folder(tmp_path, ["x", "y"]).read(0)


def test_a_mask_in_colour_is_refused(tmp_path):
    write(tmp_path, mask=np.ones((6, 9, 3)))
    with pytest.raises(ValueError, match="mode RGB cannot be read: pixels of a mask are class numbers, not colours"):
        masked_folder(tmp_path, ["x", "y"]).read(0)


def test_a_value_that_is_no_class_is_refused(tmp_path):
    write(tmp_path, mask=np.full((6, 9), 3))
    with pytest.raises(ValueError, match=r"has the value 3, which is none of 2 classes.*nor 255"):
        masked_folder(tmp_path, ["x", "y"]).read(0)


@pytest.mark.parametrize("part", ["images", "masks"])
@pytest.mark.parametrize("length", [0, 40])
def test_a_damaged_file_is_named(tmp_path, part, length):
    write(tmp_path)
    file = tmp_path / part / "a.png"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ValueError, match=rf"{part}/a.png' cannot be read as an image \(.*: it is damaged, or no PNG"):
        masked_folder(tmp_path, ["x", "y"]).read(0)


def test_a_file_that_is_gone_is_said_to_be_gone(tmp_path):
    write(tmp_path)
    pairs = masked_folder(tmp_path, ["x", "y"])
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"images/a\.png"):
        pairs.read(0)


def test_an_image_without_mask_is_named(tmp_path):
    write(tmp_path, "a")
    write(tmp_path, "b")
    (tmp_path / "masks" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks b.png \(1 masks in all\): images belong into"):
        masked_folder(tmp_path, ["x"])


def test_a_folder_without_images_is_said_to_have_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(f"'{tmp_path}' has no images")):
        masked_folder(tmp_path, ["x"])


def test_images_without_as_many_masks_are_refused():
    with pytest.raises(ValueError, match="1 images and 0 masks cannot be pairs"):
        MaskedImages((Path("a"),), (), ("x",))


def test_voc_is_read_in_torchvisions_layout(tmp_path):
    base = tmp_path / "VOCdevkit" / "VOC2012"
    write(tmp_path / "made")
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (base / folder).mkdir(parents=True)
    (base / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n")
    with Image.open(tmp_path / "made" / "images" / "a.png") as picture:
        picture.save(base / "JPEGImages" / "a.jpg")
    (tmp_path / "made" / "masks" / "a.png").rename(base / "SegmentationClass" / "a.png")
    pairs = voc2012(tmp_path, download=False)
    assert pairs.classes == VOC_CLASSES
    assert len(pairs.classes) == 21
    assert (pairs.read(0)[1] == 1).all()


def test_an_absent_voc_says_where_it_belongs(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"VOC 2012 was asked for.*Unpack VOCtrainval_11-May-2012.tar there"):
        voc2012(tmp_path, download=False)
