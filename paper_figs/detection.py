"""Figure of scenes with their true objects, and those that each detector finds, under its mAP on all test scenes."""

from __future__ import annotations

from matplotlib.figure import Figure

from experiments.support.pictures import picture_of
from odenet.training import Record
from paper_figs.claims.claim import mean
from paper_figs.support.command import main
from paper_figs.support.objects import draw_boxes, draw_masks, show

NAME = "detection"
NETS = {
    "fcos_plain": "FCOS, plain",
    "fcos_flows": "FCOS, flows",
    "fcos_group_norm": "FCOS, GroupNorm",
    "fcos_mixed": "FCOS, mixed steps",
    "mask_rcnn_plain": "Mask R-CNN, plain",
    "mask_rcnn_flows": "Mask R-CNN, flows",
    "mask_rcnn_group_norm": "Mask R-CNN, GroupNorm",
    "mask_rcnn_mixed": "Mask R-CNN, mixed",
}
"""Names of the nets in figures."""


def draw(record: Record) -> Figure:
    """Draw a row for each scene, with columns for the image, the truth and each net's objects."""
    scenes, first = record.results["scenes"], record.settings["seeds"][0]
    images, classes = picture_of(scenes["images"]), scenes["classes"]
    nets = [name for name in NETS if name in record.settings["nets"]]
    columns = [None, scenes["objects"], *(record.results[f"seed{first}/{name}"]["found"] for name in nets)]
    titles = ["image", "truth", *(f"{NETS[name]}\n{mean(record, name, 'mAP'):.1f} %" for name in nets)]
    figure = Figure(figsize=(1.1 * len(columns), 1.1 * len(images) + 0.35), layout="constrained")
    panels = figure.subplots(len(images), len(columns), squeeze=False)
    for column, (objects, title) in enumerate(zip(columns, titles, strict=True)):
        panels[0, column].set_title(title, loc="center", fontsize=6)
        for row, image in enumerate(images):
            show(panels[row, column], image)
            if objects is not None:
                draw_masks(panels[row, column], objects[row])
                draw_boxes(panels[row, column], objects[row], classes)
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)  # pyright: ignore
    return figure


if __name__ == "__main__":
    main(NAME, draw)
