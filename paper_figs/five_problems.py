"""Figure of the lecture's five problems of computer vision on one image, with its true answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.support.pictures import picture_of
from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.objects import draw_boxes, draw_masks, show

NAME = "five_problems"
EXPERIMENT = "detection"


def draw(record: Record) -> Figure:
    """Draw a panel for each problem, on the scene that shows most objects of different classes."""
    scenes = record.results["scenes"]
    objects = max(scenes["objects"], key=lambda found: (len(set(found["labels"])), len(found["labels"])))
    image = picture_of(scenes["images"])[scenes["objects"].index(objects)]
    problems: dict[str, Callable[[Axes], None]] = {
        "one label": lambda axes: _words(axes, [largest(objects, scenes["classes"])]),
        "many labels": lambda axes: _words(axes, sorted(scenes["classes"][k - 1] for k in set(objects["labels"]))),
        "a class for each pixel": lambda axes: draw_masks(axes, objects, by_object=False),
        "detection: (x, y, w, h)": lambda axes: draw_boxes(axes, objects, scenes["classes"], sides=True),
        "instances": lambda axes: _instances(axes, objects, scenes["classes"]),
    }
    figure = Figure(figsize=(7.2, 1.75), layout="constrained")
    for axes, (title, answer) in zip(figure.subplots(1, len(problems)), problems.items(), strict=True):
        show(axes, image)
        answer(axes)
        axes.set_title(title, loc="center", fontsize=7)
    return figure


def largest(objects: dict[str, Any], classes: list[str]) -> str:
    """Return the class of the object that shows most pixels."""
    areas = [np.count_nonzero(mask) for mask in picture_of(objects["masks"])]
    return classes[objects["labels"][int(np.argmax(areas))] - 1]


def _instances(axes: Axes, objects: dict[str, Any], classes: list[str]) -> None:
    draw_masks(axes, objects)
    draw_boxes(axes, objects, classes)


def _words(axes: Axes, words: list[str]) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2}
    axes.text(0.5, 0.5, "\n".join(words), transform=axes.transAxes, ha="center", va="center", fontsize=9, bbox=box)


if __name__ == "__main__":
    main(NAME, draw, EXPERIMENT)
