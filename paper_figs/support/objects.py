"""Objects drawn on images: boxes with names such as Horse1, and masks in the colour of the class."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from experiments.support.object_names import numbered
from experiments.support.pictures import picture_of

COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#F0E442",
    "#666666",
    "#8B4513",
    "#000000",
)
"""Colours of the classes in order; label 1 has the first."""


def show(axes: Axes, image: np.ndarray) -> None:
    """Show an image of bytes, (3, height, width) or (height, width, 3), without axes."""
    axes.imshow(image.transpose(1, 2, 0) if image.shape[0] == 3 else image, interpolation="nearest")
    axes.set_axis_off()


def draw_boxes(
    axes: Axes, objects: dict[str, Any], classes: list[str], *, names: bool = True, sides: bool = False
) -> None:
    """Draw the boxes (x, y, width, height) of objects.

    Args:
        axes: Axes that show the image.
        objects: Objects, as `experiments.support.detections.objects_as_data` returns them.
        classes: Names of the classes.
        names: Whether to write the name of each object, with its number among those of its class.
        sides: Whether to write the box beneath the name.
    """
    texts = numbered(objects["labels"], classes)
    for (x, y, width, height), label, text in zip(objects["boxes"], objects["labels"], texts, strict=True):
        colour = COLOURS[(label - 1) % len(COLOURS)]
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), width, height, fill=False, edgecolor=colour, linewidth=1.0))
        written = ([text] if names else []) + ([f"({x:.0f}, {y:.0f}, {width:.0f}, {height:.0f})"] if sides else [])
        if written:
            box = {"facecolor": colour, "edgecolor": "none", "pad": 0.6}
            place = {"va": "top", "ha": "left", "fontsize": 4, "color": "white", "bbox": box, "clip_on": True}
            axes.text(x, max(0.0, y), "\n".join(written), **place)  # pyright: ignore[reportArgumentType]


def draw_masks(axes: Axes, objects: dict[str, Any], *, by_object: bool = True) -> None:
    """Lay the masks of objects over an image, in the colour of the class; lighter for a second object of a class."""
    if "masks" not in objects or not objects["labels"]:
        return
    seen: dict[int, int] = {}
    for mask, label in zip(picture_of(objects["masks"]), objects["labels"], strict=True):
        seen[label] = seen.get(label, 0) + 1
        share = 0.6 ** (seen[label] - 1) if by_object else 1.0
        colour = [1 - share * (1 - level) for level in to_rgb(COLOURS[(label - 1) % len(COLOURS)])]
        axes.imshow(np.dstack([np.broadcast_to(colour, (*mask.shape, 3)), 0.65 * (mask > 0)]), interpolation="nearest")
