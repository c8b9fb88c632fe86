"""Labelled images: data sets by name, and batches that live on the device.

>>> data = load("digits")
>>> for images, labels in data.train_batches(64, seed=0).epoch(0):
...     pass
"""

from odenet.data.augmentation import Augmentation, Compose, RandomCrop, RandomFlip
from odenet.data.batches import Batches
from odenet.data.catalogue import DATA_SETS, data_root, load
from odenet.data.image_data import ImageData
from odenet.data.split import Split

__all__ = [
    "DATA_SETS",
    "Augmentation",
    "Batches",
    "Compose",
    "ImageData",
    "RandomCrop",
    "RandomFlip",
    "Split",
    "data_root",
    "load",
]
