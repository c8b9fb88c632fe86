"""Common style of all figures: a colour for each method, sizes for a column of text, and reproducible files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from odenet.training.files import write_atomically

COLOURS: Mapping[str, str] = {
    "scratch": "#0072B2",
    "refined": "#D55E00",
    "steps": "#666666",
    "running": "#666666",
    "recalibrated": "#0072B2",
    "none": "#009E73",
    "scratch, independent": "#0072B2",
    "scratch, tied": "#009E73",
    "mixed": "#E69F00",
    "euler": "#0072B2",
    "midpoint": "#009E73",
    "rk4": "#D55E00",
    "dopri5": "#CC79A7",
    "plain": "#D55E00",
    "resnet": "#0072B2",
    "stochastic_depth": "#009E73",
    "googlenet": "#CC79A7",
    "sigmoid": "#666666",
    "sigmoid+bn": "#009E73",
    "sigmoid+identity": "#0072B2",
    "naive": "#D55E00",
    "bottleneck": "#0072B2",
    "vgg": "#009E73",
    "alexnet": "#E69F00",
    "ode_net": "#56B4E9",
    "linear": "#666666",
    "deconvnet": "#D55E00",
    "unet": "#0072B2",
    "full_resolution": "#666666",
    "fcn32s": "#F0E442",
    "fcn16s": "#E69F00",
    "fcn8s": "#009E73",
    "fcn_resnet": "#CC79A7",
    "unet_flows": "#56B4E9",
    "one by one": "#E69F00",
    "sliding window": "#D55E00",
    "shift and stitch": "#CC79A7",
    "full resolution": "#0072B2",
    "down and up": "#009E73",
    "one_label": "#0072B2",
    "many_labels": "#D55E00",
    "backprop": "#0072B2",
    "checkpointed": "#56B4E9",
    "reversible": "#D55E00",
    "asynchronous_leapfrog": "#009E73",
    "reversible_heun": "#CC79A7",
    "adjoint": "#666666",
    "no_flow": "#000000",
    "one_layer": "#E69F00",
    "odenet": "#0072B2",
    "torchdiffeq": "#D55E00",
    "torchode": "#009E73",
    "torchdyn": "#CC79A7",
    "diffrax": "#E69F00",
    "TorchDiffEqPack": "#56B4E9",
    "momentumnet": "#F0E442",
    "torchsde": "#000000",
}
"""Colour of each method, the same in all figures (Okabe and Ito's palette, suited to colour-blind readers)."""

SETTINGS: Mapping[str, Any] = {
    "font.family": "DejaVu Sans",  # part of matplotlib, so every machine has it
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.which": "major",
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "figure.dpi": 200,
    "pdf.fonttype": 42,
    "svg.hashsalt": "odenet",
}

mpl.use("Agg")
for name, value in SETTINGS.items():
    mpl.rcParams[name] = value  # pyright: ignore[reportArgumentType]


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as PDF and as PNG, without dates, so that the same figure gives the same files.

    On another processor the last digits of coordinates may differ, which is not visible.

    Each file is written atomically: it is complete even if the process is killed.

    Args:
        figure: Figure to save.
        path: Path of the files without extension.

    Returns:
        The paths of the two files.
    """
    metadata_of = {"pdf": {"CreationDate": None, "Producer": None, "Creator": None}, "png": {"Software": None}}
    files = [path.with_name(f"{path.name}.{form}") for form in metadata_of]
    for file, (form, metadata) in zip(files, metadata_of.items(), strict=True):
        drawn = io.BytesIO()
        figure.savefig(drawn, format=form, metadata=metadata)
        write_atomically(file, drawn.getvalue(), what="figure")
    return files
