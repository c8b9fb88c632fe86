"""Garments: scenes composed of the images of Fashion-MNIST instead of drawn silhouettes."""

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
"""Largest grey value, in 0, …, 255, of the background: the published images are 0 there, with a faint rim."""


def garment_templates(split: Split, names: tuple[str, ...]) -> Templates:
    """Make templates of the grey images of a split, whose pixels above 16 are the object; add clutter of `silhouettes`.

    In a scene a garment has one colour, multiplied by its grey values.

    Args:
        split: Square images of one channel; images without an object are left out.
        names: Names of the classes.
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
    """Return training scenes composed of the training images and test scenes composed of the test images.

    Args:
        root: Folder of the data sets, with Fashion-MNIST in torchvision's layout.
        download: Whether to download Fashion-MNIST if it is missing.
        settings: Settings of `Scenes`: size, seed, objects, clutter, smallest.

    Raises:
        FileNotFoundError: if Fashion-MNIST is missing and was not or could not be downloaded.
        ValueError: if a file differs from the published one, or a setting is out of range.
        ModuleNotFoundError: if torchvision is not installed.
    """
    Scenes(**settings)  # refuses a bad setting before any image is read
    train, test, names = read_torchvision("FashionMNIST", root, download)
    return (
        Scenes(**settings, templates=garment_templates(train, names)),
        Scenes(**settings, part="test", templates=garment_templates(test, names)),
    )


def read_garments(root: Path, download: bool) -> tuple[Split, Split, tuple[str, ...]]:
    """Return 10,000 training and 2,000 test scenes of 64×64 pixels with their `label`, and the class names."""
    training, test = garment_scenes(root, download=download)
    return one_label_split(training, 10_000), one_label_split(test, 2_000), training.classes
