"""Images in files with the objects in them: masks, sizes and the messages for bad ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from faster_coco_eval.core import mask as codes

from odenet.data import DetectionImages, coco_folder
from odenet.data.detection_images import ObjectInFile, mask_of
from odenet.data.image_files import read_picture
from tests.coco_files import POLYGON, RUNS, write


@pytest.fixture
def images(tmp_path: Path) -> DetectionImages:
    return coco_folder(*write(tmp_path))


def test_an_image_is_read_with_its_objects(images: DetectionImages) -> None:
    pixels, target = images.read(0)
    assert torch.equal(pixels, read_picture(images.images[0]))
    assert {name: value.tolist() for name, value in target.items()} == {
        "boxes": [[2, 1, 6, 5], [0, 0, 1, 8]],
        "labels": [2, 1],
        "iscrowd": [0, 1],
    }


def test_polygons_and_run_lengths_become_masks(images: DetectionImages) -> None:
    masks = images.read(0, masks=True)[1]["masks"]
    expected = torch.zeros(2, 8, 10, dtype=torch.uint8)
    expected[0, 1:5, 2:6], expected[1, :, 0] = 1, 1
    assert torch.equal(masks, expected)


def test_compressed_run_lengths_are_the_same() -> None:
    packed: Any = codes.frPyObjects(RUNS, 8, 10)
    for counts in (packed["counts"], packed["counts"].decode("ascii")):
        assert torch.equal(mask_of(packed | {"counts": counts}, (8, 10), "it"), mask_of(RUNS, (8, 10), "it"))


def test_several_polygons_are_one_object() -> None:
    both = mask_of([*POLYGON, [7, 5, 10, 5, 10, 8, 7, 8]], (8, 10), "it")
    assert int(both.sum()) == 16 + 9


def test_an_image_without_an_object_has_empty_targets(images: DetectionImages) -> None:
    target = images.read(1, masks=True)[1]
    assert {name: tuple(value.shape) for name, value in target.items()} == {
        "boxes": (0, 4),
        "labels": (0,),
        "iscrowd": (0,),
        "masks": (0, 4, 6),
    }


@pytest.mark.parametrize(
    ("outline", "fault"),
    [
        (None, "it has none"),
        ([], "it has none"),
        ([[1, 2, 3, 4]], "a polygon has three points or more"),
        ([[1, 2, 3, 4, 5, 6, 7]], "two numbers for each"),
        ({"size": [10, 8], "counts": [0, 80]}, "its run lengths are for an image of size"),
        ({"counts": [0, 80]}, "size"),
    ],
)
def test_a_bad_outline_is_refused_with_its_object_and_file(images: DetectionImages, outline: Any, fault: str) -> None:
    first, second = images.objects[0]
    bad = replace(images, objects=((first, second._replace(outline=outline)), ()))
    bad.read(0)
    with pytest.raises(ValueError, match=rf"of object 1 of '.*a.png' cannot be drawn in an image of 8×10.*{fault}"):
        bad.read(0, masks=True)


def test_an_image_of_another_size_than_stated_is_refused(images: DetectionImages) -> None:
    other = replace(images, sizes=((8, 12), (4, 6)))
    with pytest.raises(ValueError, match=r"a.png' has 8×10 pixels, and its objects were marked in an image of 8×12"):
        other.read(0)


def test_a_damaged_image_is_named(images: DetectionImages) -> None:
    images.images[1].write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"b.png' cannot be read as an image"):
        images.read(1)


def test_an_index_beyond_the_images_is_refused(images: DetectionImages) -> None:
    with pytest.raises(ValueError, match=r"index must be a whole number from 0 to 1.*, got 2: there are 2 images"):
        images.read(2)


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (ObjectInFile((0, 0, 11, 8), 1), "which leaves the image of 8×10"),
        (ObjectInFile((0, 0, 1, 1), 3), "has the label 3: there are 2 classes"),
        (ObjectInFile((0, 0, 1, 1), 0), "has the label 0: labels count from 1"),
    ],
)
def test_bad_objects_are_refused_with_their_file(images: DetectionImages, entry: ObjectInFile, fault: str) -> None:
    with pytest.raises(ValueError, match=rf"object 0 of '.*a.png' .*{fault}"):
        replace(images, objects=((entry,), ()))


def test_each_image_has_a_size_and_objects(images: DetectionImages) -> None:
    with pytest.raises(ValueError, match=r"images has 2 entries, sizes 1, and objects 2: each"):
        replace(images, sizes=((8, 10),))
    with pytest.raises(ValueError, match="images has 0 entries"):
        DetectionImages((), (), (), ("a",))
