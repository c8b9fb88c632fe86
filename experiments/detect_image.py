"""Where are the objects in your own photograph? Boxes, and masks, laid over the photograph as PNG, and listed as JSON.

    python -m experiments.detect_image runs/detection/cpu-scenes.json.d/seed0%2Ffcos_flows/net.safetensors photo.jpg

The net is read from a file that `odenet.training.saved_models.save_model` wrote, as `experiments/detection.py` does
beside its record. The JSON lists for each object its name (Horse1, Horse2, …), score and box (x, y, width, height) in
pixels, and its mask, where there is one, in COCO's run lengths. The small nets of the experiment were trained on drawn
scenes only, so do not expect them to recognize what is in a real photograph.
"""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from experiments.segment_image import colour
from experiments.support.detection_nets import detection_net
from experiments.support.object_names import numbered
from experiments.support.tables import print_table
from odenet.blocks.annotations import Share
from odenet.blocks.extras import Extra
from odenet.data.image_files import read_picture
from odenet.models.detection import Pyramid
from odenet.training.checked import Checked
from odenet.training.files import write_atomically
from odenet.training.saved_models import load_model

with Extra("experiments"):
    import tyro
    from PIL import Image
    from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

SCENES = ("horse", "church", "toothbrush", "person")
"""Names of the classes of a net that was trained on scenes."""


@dataclass(frozen=True)
class Options(Checked):
    """Find the objects in a photograph."""

    net: Annotated[Path, tyro.conf.Positional]
    """File of the saved model, net.safetensors."""
    photo: Annotated[Path, tyro.conf.Positional]
    """File of the photograph: PNG, JPEG or another format that Pillow reads."""
    out: Path | None = None
    """File of the overlay, which must not exist, as the file of the same name that ends with .json; by default
    PHOTO-objects.png in the working directory."""
    classes: tuple[str, ...] = SCENES
    """Names of the net's classes in order; those without a name are numbered."""
    least_score: Share = 0.5
    """Least score of the objects that are shown."""
    opacity: Share = 0.5
    """Opacity of the masks."""


def detect_image(options: Options) -> tuple[Path, Path]:
    """Find the objects in the photograph, write the overlay and the JSON, and print a table.

    Raises:
        FileExistsError: if one of the files exists.
        ValueError: if the net is no detector, or the photograph cannot be read.
    """
    out = options.out or Path(f"{options.photo.stem}-objects.png")
    listing = out.with_suffix(".json")
    for file in (out, listing):
        if file.exists():
            raise FileExistsError(f"{file} was to be written and exists already: move it, or give --out.")
    net = load_model(options.net, names={"detection_net": detection_net})
    require_detector(net, options.net)
    photo = read_picture(options.photo)
    found = found_objects(net.eval(), photo, options)
    png = io.BytesIO()
    Image.fromarray(overlay(photo, found, options.opacity).permute(1, 2, 0).numpy()).save(png, format="png")
    write_atomically(out, png.getvalue(), what="overlay")
    rows = [{name: value for name, value in entry.items() if name != "mask"} for entry in found]
    listed = [as_json(entry) for entry in found]
    content = {"photo": options.photo.name, "size": list(photo.shape[1:]), "objects": listed}
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    write_atomically(listing, text.encode("utf-8"), what="list of objects")
    print_table(f"{options.photo.name}, {photo.shape[2]}×{photo.shape[1]} pixels", rows or [{"object": "none found"}])
    print(f"overlay: {out}\nobjects: {listing}")
    return out, listing


def require_detector(net: nn.Module, file: Path) -> None:
    """Raise a `ValueError` unless the net finds objects."""
    if not isinstance(getattr(net, "backbone", None), Pyramid):
        raise ValueError(
            f"{file} holds a {type(net).__name__}, which finds no objects: give a detector, such as one that "
            "python -m experiments.detection saved."
        )


@torch.no_grad()
def found_objects(net: nn.Module, photo: Tensor, options: Options) -> list[dict[str, Any]]:
    """Return the name, score, box and mask of each object, the best first.

    Raises:
        ValueError: if a score is not finite.
    """
    (found,) = net([photo / 255])
    if not found["scores"].isfinite().all():
        raise ValueError(
            f"the net finds objects in '{options.photo}' with scores that are not finite: its weights are too large, "
            "or its stepping diverges on this image; train it again."
        )
    kept = found["scores"].argsort(descending=True)
    kept = kept[found["scores"][kept] >= options.least_score]
    labels = found["labels"][kept].tolist()
    x1, y1, x2, y2 = found["boxes"][kept].unbind(dim=1)
    boxes = torch.stack([x1, y1, x2 - x1, y2 - y1], dim=1).round(decimals=2).tolist()
    entries: list[dict[str, Any]] = [
        {"object": name, "score": round(score, 4), "box": box, "label": label}
        for name, score, box, label in zip(
            numbered(labels, options.classes), found["scores"][kept].tolist(), boxes, labels, strict=True
        )
    ]
    for entry, mask in zip(entries, found["masks"][kept].squeeze(1) if "masks" in found else [], strict=False):
        entry["mask"] = mask > 0.5
    return entries


def overlay(photo: Tensor, found: list[dict[str, Any]], opacity: float) -> Tensor:
    """Draw the masks, boxes and names of objects on a photograph: (3, H, W) bytes."""
    if not found:
        return photo
    colours: list[Any] = [colour(entry["label"]) for entry in found]
    if "mask" in found[0]:
        masks = torch.stack([entry["mask"] for entry in found])
        photo = draw_segmentation_masks(photo, masks, alpha=opacity, colors=colours)
    boxes = torch.tensor([[x, y, x + width, y + height] for x, y, width, height in (entry["box"] for entry in found)])
    names = [f"{entry['object']} {entry['score']:.2f}" for entry in found]
    return draw_bounding_boxes(photo, boxes, names, colors=colours, width=max(1, photo.shape[1] // 200))


def as_json(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an object as JSON data, its mask in COCO's run lengths, column by column, beginning with those outside."""
    if "mask" not in entry:
        return entry
    mask = entry["mask"]
    values, counts = mask.T.flatten().to(torch.uint8).unique_consecutive(return_counts=True)
    return entry | {"mask": {"size": list(mask.shape), "counts": ([0] if int(values[0]) else []) + counts.tolist()}}


def main() -> None:
    """Find the objects in the photograph that the command line names."""
    try:
        detect_image(tyro.cli(Options, prog="python -m experiments.detect_image", description=__doc__))
    except (ValueError, TypeError, OSError) as error:
        sys.exit(f"detect_image: {error}")


if __name__ == "__main__":
    main()
