"""Objects in COCO's format (a JSON file and a folder of images), and those of VOC."""

from __future__ import annotations

import json
import os
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

from odenet.blocks.arguments import checked
from odenet.blocks.errors import OdenetWarning
from odenet.data.detection_images import DetectionImages, ObjectInFile
from odenet.data.detection_targets import fault_of_box
from odenet.data.extras import data_package
from odenet.data.masked_images import VOC_CLASSES

_ROUNDING = 1.0
"""Pixels by which a box may leave its image and is cut off, because boxes of COCO are rounded."""


@checked
def coco_folder(
    annotations: str | os.PathLike[str], images: str | os.PathLike[str], *, leave_out_bad: bool = False
) -> DetectionImages:
    """Read objects in COCO's format: one JSON file with `images`, `annotations` and `categories`.

    The categories get the labels 1, …, K in the order of their ids, which may have gaps. Objects with `iscrowd` are
    crowds. A box that leaves its image by less than a pixel is cut off there. Masks, as polygons or run lengths, are
    drawn when an image is read.

    Args:
        annotations: JSON file, such as COCO's `instances_val2017.json`.
        images: Folder of the images.
        leave_out_bad: Whether objects with a bad box are left out, with an `OdenetWarning`, instead of refused; COCO's
            own training images have a few.

    Raises:
        FileNotFoundError: if the file or an image is missing.
        ValueError: if the file is not in this format, an object refers to an image or a category that is not there, or
            a box is bad; the message names the file and the id.
    """
    source, folder = Path(annotations), Path(images)
    content = _content(source)
    categories = sorted(content["categories"], key=lambda category: category["id"])
    labels = {category["id"]: number for number, category in enumerate(categories, start=1)}
    listed = {entry["id"]: entry for entry in content["images"]}
    _require_files(source, folder, [entry["file_name"] for entry in listed.values()])
    objects: dict[Any, list[ObjectInFile]] = defaultdict(list)
    bad: list[str] = []
    for entry in content["annotations"]:
        for name, known, there in (("image_id", listed, "images"), ("category_id", labels, "categories")):
            if entry[name] not in known:
                raise ValueError(
                    f"annotation {entry['id']} of '{source}' has the {name} {entry[name]!r}, which is not among the "
                    f"{len(known)} {there} of the file: add it, or remove the annotation."
                )
        image = listed[entry["image_id"]]
        box, fault = _box(entry["bbox"], (image["height"], image["width"]))
        if fault is None:
            crowd = bool(entry.get("iscrowd", 0))
            objects[entry["image_id"]].append(
                ObjectInFile(box, labels[entry["category_id"]], crowd, entry.get("segmentation"))
            )
        else:
            bad.append(
                f"annotation {entry['id']} of '{source}', in '{image['file_name']}', has the bbox {entry['bbox']} "
                f"(x, y, width, height), {fault}"
            )
    if bad:
        _report(bad, leave_out=leave_out_bad)
    return DetectionImages(
        tuple(folder / entry["file_name"] for entry in listed.values()),
        tuple((entry["height"], entry["width"]) for entry in listed.values()),
        tuple(tuple(objects[number]) for number in listed),
        tuple(str(category["name"]) for category in categories),
    )


@checked
def voc_detection(
    root: str | os.PathLike[str], part: str = "train", *, year: str = "2012", download: bool = True
) -> DetectionImages:
    """Read the images of VOC and their boxes, of 20 classes, through torchvision.

    Objects that VOC marks as difficult are crowds: they are not learned, and do not count when they are found. VOC
    counts pixels from 1 and includes the last one, so its (xmin, ymin, xmax, ymax) is (xmin - 1, ymin - 1, xmax, ymax).

    Args:
        root: Folder of the data sets, in torchvision's layout: root/VOCdevkit/VOC2012.
        part: Part of the images: `train`, `val`, `trainval`, or `test` of 2007.
        year: Year, from 2007 to 2012.
        download: Whether to download the images (2 GB, verified by torchvision) if the folder does not exist.

    Raises:
        FileNotFoundError: if the images are missing and were not or could not be downloaded.
        ValueError: if a box leaves its image or has no area.
    """
    dataset = data_package("torchvision.datasets").VOCDetection
    folder = Path(root) / "VOCdevkit" / f"VOC{year}"
    try:
        found = dataset(str(root), year=year, image_set=part, download=download and not folder.is_dir())
    except (RuntimeError, OSError) as error:
        raise FileNotFoundError(
            f"VOC {year} was requested, but '{root}' lacks VOCdevkit/VOC{year} or its lists ({error}). Unpack VOC's "
            "archive there, or give the folder that contains it by --data-root or by the environment variable "
            "ODENET_DATA."
        ) from error
    parse = data_package("xml.etree.ElementTree").parse
    roots = [found.parse_voc_xml(parse(file).getroot())["annotation"] for file in found.annotations]
    return DetectionImages(
        tuple(map(Path, found.images)),
        tuple((int(entry["size"]["height"]), int(entry["size"]["width"])) for entry in roots),
        tuple(tuple(map(_voc_object, entry.get("object", []))) for entry in roots),
        VOC_CLASSES[1:],
    )


def _voc_object(entry: dict[str, Any]) -> ObjectInFile:
    x1, y1, x2, y2 = (float(entry["bndbox"][side]) for side in ("xmin", "ymin", "xmax", "ymax"))
    return ObjectInFile((x1 - 1, y1 - 1, x2, y2), VOC_CLASSES.index(entry["name"]), entry.get("difficult") == "1")


def _content(source: Path) -> dict[str, Any]:
    """Read the JSON file, and check that its parts are there."""
    if not source.is_file():
        raise FileNotFoundError(f"there is no file '{source}'; give the JSON file with the annotations.")
    try:
        content = json.loads(source.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"'{source}' is not JSON ({error}): it is damaged, or not a file of annotations.") from error
    needed = {
        "images": ("id", "file_name", "height", "width"),
        "annotations": ("id", "image_id", "category_id", "bbox"),
        "categories": ("id", "name"),
    }
    for part, entries in needed.items():
        listed = content.get(part) if isinstance(content, dict) else None
        if not isinstance(listed, list):
            raise ValueError(
                f"'{source}' has no list {part!r}: COCO's format is an object with the lists images, annotations and "
                "categories; give such a file (instances, not captions or results)."
            )
        for place, entry in enumerate(listed):
            if lacking := [name for name in entries if not isinstance(entry, dict) or name not in entry]:
                raise ValueError(
                    f"entry {place} of {part!r} in '{source}' lacks {', '.join(lacking)}: COCO's format needs "
                    f"{', '.join(entries)} there."
                )
    return content


def _require_files(source: Path, folder: Path, names: list[str]) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing or not names:
        what = f"lacks {len(missing)} of them, the first being '{missing[0]}'" if missing else "is given for none"
        raise FileNotFoundError(
            f"'{source}' lists {len(names)} images, and the folder '{folder}' {what}: give the folder that contains "
            "them, or remove their entries from the file."
        )


def _box(given: Any, size: tuple[int, int]) -> tuple[tuple[float, float, float, float], str | None]:
    """Convert a box (x, y, width, height) to (x1, y1, x2, y2), cut off by up to a pixel, and say what is wrong."""
    try:
        x, y, width, height = map(float, given)
    except (TypeError, ValueError):
        return (0.0, 0.0, 0.0, 0.0), "which is not four numbers"
    (x1, y1), (x2, y2) = ((max(0.0, v) if v > -_ROUNDING else v for v in (x, y)), (x + width, y + height))
    x2, y2 = (float(most) if most < v < most + _ROUNDING else v for v, most in zip((x2, y2), size[::-1], strict=True))
    return (x1, y1, x2, y2), fault_of_box((x1, y1, x2, y2), size)


def _report(bad: list[str], *, leave_out: bool) -> None:
    if not leave_out:
        raise ValueError(
            f"{bad[0]} ({len(bad)} such objects in all): correct or remove them, or leave them out by "
            "leave_out_bad=True."
        )
    warnings.warn(
        f"{len(bad)} objects are left out, because their boxes are bad: {bad[0]}. Correct the file to keep them.",
        OdenetWarning,
        stacklevel=3,
    )
