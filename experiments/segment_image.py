"""What does a trained net see in your own photograph? Its answer for every pixel, laid over the photograph as PNG.

    python -m experiments.segment_image photo.jpg runs/segmentation/cpu-scenes.json.d/seed0%2Funet/net.safetensors

The net is read from a file that `odenet.training.saved_models.save_model` wrote, as `experiments/segmentation.py` does
beside its record. Photographs may have any size: those larger than a tile are segmented tile by tile, with the same
answers as in one piece. Class 0, the ground, is not painted. The small nets of the experiment were trained on drawn
scenes only, so do not expect them to recognize what is in a real photograph.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor, nn

from experiments.support.endings import ends_in_a_line
from experiments.support.invocation import as_invoked
from experiments.support.segmentation_nets import segmentation_net
from experiments.support.tables import print_table
from odenet.blocks.annotations import AnyNumber, Share, WholeFromZero
from odenet.blocks.extras import Extra
from odenet.data.image_files import MODES, read_picture
from odenet.data.scenes.batches import MEAN, STD
from odenet.training import segment
from odenet.training.checked import Checked
from odenet.training.files import write_atomically
from odenet.training.saved_models import load_model

with Extra("experiments"):
    import tyro
    from PIL import Image

PALETTE = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
"""Colours of the classes in order; they repeat from the second on, and the first one, the ground, is not painted."""


@dataclass(frozen=True)
class Options(Checked):
    """Segment a photograph."""

    photo: Annotated[Path, tyro.conf.Positional]
    """File of the photograph: PNG, JPEG or another format that Pillow reads."""
    net: Annotated[Path, tyro.conf.Positional]
    """File of the saved model, net.safetensors."""
    out: Path | None = None
    """File of the overlay, which must not exist; by default PHOTO-segmented.png in the working directory."""
    tile: int = 512
    """Largest side of a tile in pixels; give less if memory runs out."""
    overlap: WholeFromZero | None = None
    """Pixels beyond its own that a tile reads; by default as many as the receptive field needs."""
    opacity: Share = 0.5
    """Opacity of the colours: 0 shows the photograph alone, 1 the colours alone."""
    mean: AnyNumber = MEAN
    """Mean of the pixels in the training, by which they were normalized; pixels in [0, 1]."""
    std: float = STD
    """Standard deviation of the pixels in the training."""


def segment_image(options: Options) -> Path:
    """Segment the photograph, write the overlay, and print the share of each class.

    Raises:
        FileExistsError: if the file of the overlay exists.
    """
    out = options.out or Path(f"{options.photo.stem}-segmented.png")
    if out.exists():
        raise FileExistsError(f"the overlay was to be written to {out}, which exists already: move it, or give --out.")
    net = load_model(options.net, names={"segmentation_net": segmentation_net})
    photo = read(options.photo, channels_of(net))
    logits = segment(net, (photo / 255 - options.mean) / options.std, tile=options.tile, overlap=options.overlap)
    classes = logits.argmax(dim=0)
    png, painted = io.BytesIO(), overlay(photo, classes, options.opacity)
    Image.fromarray(painted.permute(1, 2, 0).numpy()).save(png, format="png")
    write_atomically(out, png.getvalue(), what="overlay")
    shares = classes.flatten().bincount(minlength=len(logits)) / classes.numel()
    rows = [
        {"class": k, "colour": colour(k), "pixels %": f"{100 * share:.1f}"} for k, share in enumerate(shares.tolist())
    ]
    print_table(f"{options.photo.name}, {photo.shape[2]}×{photo.shape[1]} pixels", rows)
    print(f"overlay: {out}")
    return out


def channels_of(net: nn.Module) -> int:
    """Return the number of channels of the images that the net takes, from its first convolution."""
    return next(module.in_channels for module in net.modules() if isinstance(module, nn.Conv2d))


def read(photo: Path, channels: int) -> Tensor:
    """Read the photograph as bytes (channels, height, width), upright, in colour or grey as the net needs it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no image, `read_picture` refuses it, or the net takes neither colour nor grey images.
    """
    if channels not in MODES:
        raise ValueError(
            f"the net takes images of {channels} channels, but a photograph has 3, or 1 in grey: use "
            "odenet.training.segment on images of your own."
        )
    return read_picture(photo, channels)


def colour(number: int) -> str:
    """Return the colour of a class."""
    return PALETTE[number] if number < len(PALETTE) else PALETTE[1 + (number - 1) % (len(PALETTE) - 1)]


def overlay(photo: Tensor, classes: Tensor, opacity: float) -> Tensor:
    """Blend the photograph, (1 or 3, H, W) bytes, with the colours of the classes, (H, W): (3, H, W) bytes."""
    hexes = [colour(number) for number in range(int(classes.max()) + 1)]
    palette = torch.tensor([[int(text[i : i + 2], 16) for i in (1, 3, 5)] for text in hexes], dtype=torch.float32)
    painted = palette[classes].permute(2, 0, 1)
    share = opacity * (classes > 0)
    return ((1 - share) * photo + share * painted).round().to(torch.uint8)


def main() -> None:
    """Segment the photograph that the command line names."""
    prog, description = map(as_invoked, ("python -m experiments.segment_image", __doc__ or ""))
    with ends_in_a_line("experiments.segment_image", sys.argv[1:]):
        segment_image(tyro.cli(Options, prog=prog, description=description))


if __name__ == "__main__":
    main()
