"""Objects in COCO's format and VOC's, and the messages for bad files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from odenet.blocks.errors import OdenetWarning
from odenet.data import coco_folder, voc_detection
from tests.coco_files import POLYGON, RUNS, content, write


def test_boxes_labels_crowds_and_outlines_are_read(tmp_path: Path) -> None:
    """The classes are numbered in the order of their ids, and images without an annotation have no objects."""
    found = coco_folder(*write(tmp_path))
    assert found.classes == ("horse", "person")
    assert [file.name for file in found.images] == ["a.png", "b.png"]
    assert found.sizes == ((8, 10), (4, 6))
    first, second = found.objects[0]
    assert first == ((2, 1, 6, 5), 2, False, POLYGON)
    assert second == ((0, 0, 1, 8), 1, True, RUNS)
    assert found.objects[1] == ()


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    given = content()
    change(given)
    return given


def with_box(*box: object) -> dict[str, Any]:
    return changed(lambda given: given["annotations"][1].update(bbox=list(box)))


@pytest.mark.parametrize(
    ("box", "fault"),
    [
        ((0, 0, 0, 8), "which has no area"),
        ((4, 0, -1, 8), "whose corners are in the wrong order"),
        ((2, 0, 10, 8), "which leaves the image of 8×10 pixels"),
        ((-3, 0, 4, 8), "which leaves the image"),
        ((1, 2, 3), "which is not four numbers"),
        (("x", 2, 3, 4), "which is not four numbers"),
    ],
)
def test_a_bad_box_is_refused_with_its_file_image_and_id_or_left_out_on_request(
    tmp_path: Path, box: tuple[object, ...], fault: str
) -> None:
    paths = write(tmp_path, with_box(*box))
    with pytest.raises(ValueError, match=rf"annotation 2 of '.*annotations.json', in 'a.png', has the bbox.*{fault}"):
        coco_folder(*paths)
    with pytest.warns(OdenetWarning, match=rf"1 objects are left out, .* bad: annotation 2 .*{fault}"):
        assert len(coco_folder(*paths, leave_out_bad=True).objects[0]) == 1


def test_a_box_that_leaves_its_image_by_rounding_is_cut_off(tmp_path: Path) -> None:
    found = coco_folder(*write(tmp_path, with_box(-0.4, 0, 10.9, 8.3)))
    assert found.objects[0][1].box == (0, 0, 10, 8)


@pytest.mark.parametrize(("name", "value", "there"), [("image_id", 99, "2 images"), ("category_id", 1, "2 categories")])
def test_references_to_what_is_not_there_are_refused(tmp_path: Path, name: str, value: int, there: str) -> None:
    given = changed(lambda given: given["annotations"][0].update({name: value}))
    with pytest.raises(ValueError, match=rf"annotation 1 of .* has the {name} {value}, which is not among the {there}"):
        coco_folder(*write(tmp_path, given))


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
def test_a_missing_part_is_named(tmp_path: Path, part: str) -> None:
    with pytest.raises(ValueError, match=rf"annotations.json' has no list '{part}': COCO's format is an object with"):
        coco_folder(*write(tmp_path, changed(lambda given: given.pop(part))))


@pytest.mark.parametrize(("part", "entry"), [("images", "height"), ("annotations", "bbox"), ("categories", "name")])
def test_a_missing_entry_is_named(tmp_path: Path, part: str, entry: str) -> None:
    with pytest.raises(ValueError, match=rf"entry 0 of '{part}' in '.*annotations.json' lacks {entry}: COCO's format"):
        coco_folder(*write(tmp_path, changed(lambda given: given[part][0].pop(entry))))


@pytest.mark.parametrize("given", ["", "{", "[1, 2]", "7"])
def test_what_is_no_such_file_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(ValueError, match=r"annotations.json' (is not JSON|has no list 'images')"):
        coco_folder(*write(tmp_path, given))


def test_missing_images_and_a_missing_file_are_named(tmp_path: Path) -> None:
    file, images = write(tmp_path)
    (images / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"lists 2 images, and the folder '.*' lacks 1 of them, .* 'b.png'"):
        coco_folder(file, images)
    with pytest.raises(FileNotFoundError, match=r"there is no file '.*none.json'"):
        coco_folder(tmp_path / "none.json", images)
    with pytest.raises(FileNotFoundError, match=r"lists 0 images, and the folder '.*' is given for none"):
        coco_folder(*write(tmp_path, {"images": [], "annotations": [], "categories": []}))


VOC = """<annotation><size><width>6</width><height>4</height><depth>3</depth></size>
<object><name>horse</name><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>6</xmax><ymax>4</ymax></bndbox></object>
<object><name>aeroplane</name><difficult>1</difficult>
<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></object></annotation>"""


def test_voc_has_boxes_counted_from_0_and_difficult_objects_as_crowds(tmp_path: Path) -> None:
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    (folder / "ImageSets" / "Main" / "val.txt").write_text("one\n", "utf-8")
    (folder / "Annotations" / "one.xml").write_text(VOC, "utf-8")
    (folder / "JPEGImages" / "one.jpg").write_bytes(b"")
    found = voc_detection(tmp_path, "val", download=False)
    assert found.objects == ((((0, 0, 6, 4), 13, False, None), ((1, 1, 3, 3), 1, True, None)),)
    assert found.classes[12] == "horse"
    assert found.sizes == ((4, 6),)


def test_voc_that_is_not_there_says_where_it_belongs(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"VOC 2012 was requested, but '.*' lacks VOCdevkit/VOC2012"):
        voc_detection(tmp_path, download=False)
