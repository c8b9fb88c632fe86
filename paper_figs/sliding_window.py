"""Figure of the cost of a label at every pixel against the image size, for five ways to apply one classifier."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.style import COLOURS

NAME = "sliding_window"
PANELS = {
    "multiply_adds": ("a   Multiply-adds", 1e9, "billions"),
    "seconds": ("b   Time", 1.0, "seconds"),
    "bytes": ("c   Memory", 2**20, "MiB"),
}
WAYS = {
    "one by one": "v",
    "sliding window": "o",
    "shift and stitch": "^",
    "full resolution": "s",
    "down and up": "D",
}


def draw(record: Record) -> Figure:
    """Draw three log-log panels with a line for each way; the last way classifies one pixel in 64 and interpolates."""
    figure = Figure(figsize=(7.2, 2.7), layout="constrained")
    for axes, (entry, (title, unit, name)) in zip(figure.subplots(1, 3), PANELS.items(), strict=True):
        _panel(axes, record, entry, unit)
        axes.set(title=title, xlabel="side of the image (pixels)", ylabel=name)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(WAYS))
    return figure


def _panel(axes: Axes, record: Record, entry: str, unit: float) -> None:
    sizes = record.settings["sizes"]
    for way, marker in WAYS.items():
        measured = {size: record.results[f"size{size}"][entry] for size in sizes}
        values = {size: result[way] / unit for size, result in measured.items() if way in result}
        axes.loglog(values.keys(), values.values(), f"{marker}-", color=COLOURS[way], label=way, base=10)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()


if __name__ == "__main__":
    main(NAME, draw)
