"""Garments: scenes composed of the real images of Fashion-MNIST, as `Scenes` is of silhouettes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from odenet.blocks.arguments import checked
from odenet.data.scenes.scenes import Scenes, one_label_split
from odenet.data.scenes.silhouettes import silhouettes
from odenet.data.scenes.templates import Templates
from odenet.data.split import Split
from odenet.data.torchvision_sets import read_torchvision

_DARKEST = 16
"""Pixels of at most this grey, of 0, …, 255, are not the garment: the published images stand on 0, with a faint rim."""


def garment_templates(split: Split, names: tuple[str, ...]) -> Templates:
    """The grey images of a split, each pixel brighter than 16 being the object; with the clutter of `silhouettes`.

    In a scene a garment has one colour, times its own grey.

    Args:
        split: Square images of one channel; such as have no object in them are left out.
        names: Of the classes.
    """
    shown = split.subset((split.images > _DARKEST).flatten(1).any(1).nonzero().squeeze(1))
    ordered = shown.subset(shown.labels.argsort(stable=True))
    shades = ordered.images.squeeze(1)
    clutter = silhouettes(shades.shape[-1])
    any_colour = torch.full((1 + len(names), clutter.part_count, 1, 3), 127.5)
    parts = (shades > _DARKEST).to(torch.uint8)
    garments = Templates(parts, shades, ordered.labels, names, any_colour, spread=127.5, contrast=(1.0, 1.0))
    return garments.with_clutter(clutter)


@checked
def garment_scenes(root: Path, *, download: bool = True, **settings: Any) -> tuple[Scenes, Scenes]:
    """Training scenes, of the training images alone, and test scenes, of the test images alone.

    Args:
        root: The folder of the data sets, with Fashion-MNIST in torchvision's layout.
        download: Whether to download it if it is missing.
        settings: Of `Scenes`: size, seed, objects, clutter, smallest.

    Raises:
        FileNotFoundError: Fashion-MNIST is absent, and was not or could not be downloaded.
        ValueError: A file is not the published one, or a setting lies outside its bounds.
        ModuleNotFoundError: torchvision is not installed.
    """
    Scenes(**settings)  # refuses a bad setting before any image is read
    train, test, names = read_torchvision("FashionMNIST", root, download)
    return (
        Scenes(**settings, templates=garment_templates(train, names)),
        Scenes(**settings, part="test", templates=garment_templates(test, names)),
    )


def read_garments(root: Path, download: bool) -> tuple[Split, Split, tuple[str, ...]]:
    """10,000 training and 2,000 test scenes of 64×64 pixels with their `label`; class names."""
    training, test = garment_scenes(root, download=download)
    return one_label_split(training, 10_000), one_label_split(test, 2_000), training.classes
