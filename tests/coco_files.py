"""A small folder in COCO's format: two images, one of them without an object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

POLYGON = [[2, 1, 6, 1, 6, 5, 2, 5]]
RUNS = {"size": [8, 10], "counts": [0, 8, 72]}
"""The first column of an image of 8×10 pixels."""


def content() -> dict[str, Any]:
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "height": 8, "width": 10},
            {"id": 3, "file_name": "b.png", "height": 4, "width": 6},
        ],
        "categories": [{"id": 40, "name": "person"}, {"id": 5, "name": "horse"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 40, "bbox": [2, 1, 4, 4], "segmentation": POLYGON, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 5, "bbox": [0, 0, 1, 8], "segmentation": RUNS, "iscrowd": 1},
        ],
    }


def write(folder: Path, given: Any = None) -> tuple[Path, Path]:
    """Write the JSON file and the images; return both paths."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    for entry in content()["images"]:
        pixels = np.arange(entry["height"] * entry["width"] * 3, dtype=np.uint8)
        Image.fromarray(pixels.reshape(entry["height"], entry["width"], 3)).save(images / entry["file_name"])
    file = folder / "annotations.json"
    file.write_text(given if isinstance(given, str) else json.dumps(content() if given is None else given), "utf-8")
    return file, images
