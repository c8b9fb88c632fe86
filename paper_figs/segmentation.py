"""Figure of scenes, their true masks, and the predictions of each net, under its mean IoU on all test scenes."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from experiments.support.pictures import picture_of
from odenet.training import Record
from paper_figs.claims.claim import mean
from paper_figs.support.command import main

NAME = "segmentation"
NETS = {
    "full_resolution": "full res.",
    "fcn32s": "FCN-32s",
    "fcn16s": "FCN-16s",
    "fcn8s": "FCN-8s",
    "fcn_resnet": "FCN, flows",
    "deconvnet": "DeconvNet",
    "unet": "U-Net",
    "unet_flows": "U-Net, flows",
}
"""Names of the nets in figures."""

CLASSES = (
    "#eeeeee",
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
"""Colours of the classes, the ground first: as many as the garments have."""


def draw(record: Record) -> Figure:
    """Draw a row for each scene, with columns for the image, the true mask and each net's prediction."""
    scenes, first = record.results["scenes"], record.settings["seeds"][0]
    images, masks = picture_of(scenes["images"]), picture_of(scenes["masks"])
    nets = [name for name in NETS if name in record.settings["nets"]]
    answers = [picture_of(record.results[f"seed{first}/{name}"]["answers"]) for name in nets]
    columns = [images.transpose(0, 2, 3, 1), masks, *answers]
    titles = ["image", "truth", *(f"{NETS[name]}\n{mean(record, name, 'mean_iou'):.1f} %" for name in nets)]
    width = 7.2 / 10 * len(columns)
    figure = Figure(figsize=(width, width * len(images) / len(columns) + 0.75), layout="constrained")
    panels = figure.subplots(len(images), len(columns), squeeze=False)
    for column, (pictures, title) in enumerate(zip(columns, titles, strict=True)):
        for row, picture in enumerate(pictures):
            _picture(panels[row, column], picture)
        panels[0, column].set_title(title, loc="center", fontsize=7)
    _legend(figure, scenes)
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)  # pyright: ignore
    return figure


def _picture(axes: Axes, picture: np.ndarray) -> None:
    axes.imshow(picture, cmap=ListedColormap(CLASSES), vmin=-0.5, vmax=len(CLASSES) - 0.5, interpolation="nearest")
    axes.set_axis_off()


def _legend(figure: Figure, scenes: dict[str, Any]) -> None:
    patches = [Patch(color=colour, label=name) for colour, name in zip(CLASSES, scenes["classes"], strict=False)]
    figure.legend(handles=patches, loc="outside lower center", ncols=6, fontsize=7, handlelength=1.2)


if __name__ == "__main__":
    main(NAME, draw)
