"""Images and masks in files are found in pairs, and files that do not fit together are named."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from odenet.blocks.errors import OdenetWarning
from odenet.data import CropBatches, MaskedImages, masked_folder, voc2012
from odenet.data.masked_images import VOC_CLASSES


def write(folder: Path, name: str = "a", *, size: tuple[int, int] = (6, 9), mask: object = None) -> None:
    """Write a pair of files; by default the mask shows class 1 everywhere."""
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
    with pytest.raises(ValueError, match="mode RGB cannot be read: the pixels of a mask are class numbers"):
        masked_folder(tmp_path, ["x", "y"]).read(0)


def test_a_value_that_is_no_class_is_refused(tmp_path):
    write(tmp_path, mask=np.full((6, 9), 3))
    with pytest.raises(ValueError, match=r"has the value 3, which is neither one of 2 classes.*nor 255"):
        masked_folder(tmp_path, ["x", "y"]).read(0)


@pytest.mark.parametrize("part", ["images", "masks"])
@pytest.mark.parametrize("length", [0, 40])
def test_a_damaged_file_is_named(tmp_path, part, length):
    write(tmp_path)
    file = tmp_path / part / "a.png"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ValueError, match=rf"{part}/a.png' cannot be read as an image \(.*: it is damaged, or not"):
        masked_folder(tmp_path, ["x", "y"]).read(0)


def test_a_file_that_is_gone_is_said_to_be_gone(tmp_path):
    write(tmp_path)
    pairs = masked_folder(tmp_path, ["x", "y"])
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"images/a\.png"):
        pairs.read(0)


BLACK_AND_WHITE = np.arange(54).reshape(6, 9) % 2 * 255


def test_masks_in_black_and_white_are_refused_until_it_is_said_which_is_which(tmp_path):
    for name in "ab":
        write(tmp_path, name, mask=BLACK_AND_WHITE)
    said = r"contain only the values 0 and 255.*classes ground, thing only ground would remain.*values=\(0, 255\)"
    with pytest.raises(ValueError, match=said):
        masked_folder(tmp_path, ["ground", "thing"])
    for values in [(0, 255), (255, 0)]:
        pairs = masked_folder(tmp_path, ["ground", "thing"], values)
        expected = np.array(values[1] == BLACK_AND_WHITE)
        assert np.array_equal(pairs.read(1)[1].numpy(), expected)
        assert pairs.absent == ()


def test_masks_in_black_and_white_are_refused_where_files_are_named_one_by_one(tmp_path):
    write(tmp_path, mask=BLACK_AND_WHITE)
    pairs = MaskedImages((tmp_path / "images/a.png",), (tmp_path / "masks/a.png",), ("ground", "thing"))
    for train in (True, False):
        with pytest.raises(ValueError, match="contain only the values 0 and 255"):
            CropBatches(pairs, 4, 1, train=train)


def test_who_says_that_255_is_no_class_is_believed_and_warned_of_the_class_that_is_absent(tmp_path):
    write(tmp_path, mask=BLACK_AND_WHITE)
    pairs = masked_folder(tmp_path, ["ground", "thing"], (0, 1))
    assert np.array_equal(pairs.read(0)[1].numpy(), BLACK_AND_WHITE)
    with pytest.warns(
        OdenetWarning, match=r"1 of 2 classes, thing, .*\(some pixels are 255, which stands for no class"
    ):
        CropBatches(pairs, 4, 1, train=True)


@pytest.mark.parametrize(("train", "what"), [(True, "a network cannot learn them"), (False, "no metric covers them")])
def test_classes_that_no_mask_shows_are_named_in_a_warning(tmp_path, train, what):
    write(tmp_path, "a", mask=np.full((6, 9), 1))
    write(tmp_path, "b", mask=np.full((6, 9), 3))
    pairs = masked_folder(tmp_path, ["v", "w", "x", "y"])
    assert pairs.absent == ("v", "x")
    with pytest.warns(OdenetWarning, match=rf"2 of 4 classes, v, x, occur in none of the 2 masks, so {what}"):
        CropBatches(pairs, 4, 1, train=train)


def test_masks_are_read_only_until_every_class_has_been_seen(tmp_path):
    for name in "abc":
        write(tmp_path, name, mask=np.arange(54).reshape(6, 9) % 2)
    (tmp_path / "masks" / "b.png").write_bytes(b"")
    assert masked_folder(tmp_path, ["x", "y"]).shown == {0, 1}
    with pytest.raises(ValueError, match=r"masks/b\.png' cannot be read"):
        masked_folder(tmp_path, ["x", "y", "z"])


def test_masks_with_nothing_to_judge_are_refused(tmp_path):
    write(tmp_path, mask=np.full((6, 9), 255))
    with pytest.raises(ValueError, match=r"are 255 everywhere.*there is nothing to learn.*values=\(0, …, 255\)"):
        masked_folder(tmp_path, ["x", "y", "z"])


def test_a_mask_with_nothing_to_judge_among_others_is_named_in_a_warning(tmp_path):
    write(tmp_path, "a", mask=np.full((6, 9), 255))
    write(tmp_path, "b", mask=np.arange(54).reshape(6, 9) % 2)
    pairs = masked_folder(tmp_path, ["x", "y"])
    with pytest.warns(OdenetWarning, match=r"masks/a.png' is 255 everywhere, so all its pixels are ignored"):
        pairs.read(0)


def test_values_stand_for_classes_and_others_are_refused(tmp_path):
    write(tmp_path, "a", mask=np.array([[7, 3, 255]] * 3))
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    assert masked_folder(tmp_path, ["x", "y"], [3, 7]).read(0)[1][0].tolist() == [1, 0, 255]
    with pytest.raises(ValueError, match=r"has the value 7, which is neither one of 2 classes, .* 3, 9, nor 255"):
        masked_folder(tmp_path, ["x", "y"], [3, 9])


@pytest.mark.parametrize("value", [-1, 70_000])
def test_values_beyond_the_classes_are_refused_however_large_or_negative(tmp_path, value):
    write(tmp_path)
    Image.fromarray(np.full((6, 9), value, np.int32)).save(tmp_path / "masks" / "a.tif")
    pairs = MaskedImages((tmp_path / "images/a.png",), (tmp_path / "masks/a.tif",), ("x", "y"))
    with pytest.raises(ValueError, match=f"has the value {value}, which is neither one of 2 classes, numbered from 0"):
        pairs.read(0)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ((0, 1, 2), ValueError, r"values=\(0, 1, 2\) cannot stand for the classes x, y.*give 2 different numbers"),
        ((1, 1), ValueError, r"values=\(1, 1\) cannot stand for the classes x, y"),
        ((0, -1), ValueError, "values must be .*, got -1: the pixels of a mask hold numbers of up to 16 bits"),
        ((0, 0.5), TypeError, r"values\[1\] must be a whole number, got 0\.5"),
    ],
)
def test_values_that_are_not_one_number_a_class_are_refused(values, error, message):
    with pytest.raises(error, match=message):
        MaskedImages((Path("a"),), (Path("b"),), ("x", "y"), values)


def test_more_classes_than_numbers_below_255_are_refused():
    with pytest.raises(ValueError, match="256 classes are too many: number 255 marks ignored pixels"):
        MaskedImages((Path("a"),), (Path("b"),), tuple(map(str, range(256))))


def test_a_mask_that_was_not_turned_with_its_image_is_refused_with_the_reason(tmp_path):
    write(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((6, 9, 3), np.uint8)).save(tmp_path / "images" / "a.png", exif=exif)
    with pytest.raises(ValueError, match=r"of 6×9 pixels .* of 9×6, which its EXIF orientation turns upright, as"):
        masked_folder(tmp_path, ["x", "y"]).read(0)


def test_masks_without_an_image_are_named_in_a_warning(tmp_path):
    write(tmp_path, "a")
    write(tmp_path, "b")
    (tmp_path / "images" / "b.png").rename(tmp_path / "images" / "b.tif")
    with pytest.warns(OdenetWarning, match=r"1 masks in .*masks', the first being 'b.png', have no PNG or JPEG image"):
        assert len(masked_folder(tmp_path, ["x", "y"])) == 1


def test_two_images_for_one_mask_are_refused(tmp_path):
    write(tmp_path)
    Image.fromarray(np.zeros((6, 9, 3), np.uint8)).save(tmp_path / "images" / "a.jpg")
    with pytest.raises(ValueError, match=r"two images with the mask 'a.png': pairs are found by name"):
        masked_folder(tmp_path, ["x", "y"])


def test_an_image_without_mask_is_named(tmp_path):
    write(tmp_path, "a")
    write(tmp_path, "b")
    (tmp_path / "masks" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks b.png \(1 masks in all\): put images, PNG or JPEG, into"):
        masked_folder(tmp_path, ["x"])


def test_a_folder_without_images_is_said_to_have_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(f"'{tmp_path}' has no images")):
        masked_folder(tmp_path, ["x"])


def test_images_without_as_many_masks_are_refused():
    with pytest.raises(ValueError, match="1 images and 0 masks do not form pairs"):
        MaskedImages((Path("a"),), (), ("x",))


def voc(tmp_path: Path) -> Path:
    """Write VOC 2012 with a single image, in torchvision's layout."""
    base = tmp_path / "VOCdevkit" / "VOC2012"
    write(tmp_path / "made")
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (base / folder).mkdir(parents=True)
    (base / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n")
    with Image.open(tmp_path / "made" / "images" / "a.png") as picture:
        picture.save(base / "JPEGImages" / "a.jpg")
    (tmp_path / "made" / "masks" / "a.png").rename(base / "SegmentationClass" / "a.png")
    return base


def test_voc_is_read_in_torchvisions_layout(tmp_path):
    voc(tmp_path)
    pairs = voc2012(tmp_path, download=False)
    assert pairs.classes == VOC_CLASSES
    assert len(pairs.classes) == 21
    assert (pairs.read(0)[1] == 1).all()


@pytest.mark.parametrize("file", ["JPEGImages/a.jpg", "SegmentationClass/a.png"])
def test_a_voc_that_was_unpacked_in_part_says_what_it_lacks(tmp_path, file):
    (voc(tmp_path) / file).unlink()
    with pytest.raises(FileNotFoundError, match=rf"lacks 1 of the 2 files in its list train.*{file}'.*in part"):
        voc2012(tmp_path, download=False)


def test_an_absent_voc_says_where_it_belongs(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"VOC 2012 was requested.*Unpack VOCtrainval_11-May-2012.tar there"):
        voc2012(tmp_path, download=False)
