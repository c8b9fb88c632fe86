"""Data sets of labelled images, loaded by name, points of two classes, and batches of them on the device.

>>> data = load("digits")
>>> for images, labels in data.train_batches(64, seed=0).epoch(0):
...     pass
"""

from odenet.data.augmentation import Augmentation, Compose, RandomCrop, RandomErasing, RandomFlip
from odenet.data.batches import Batches
from odenet.data.catalogue import DATA_SETS, data_root, load
from odenet.data.coco import coco_folder, voc_detection
from odenet.data.crop_batches import CropBatches
from odenet.data.detection_batches import DetectionBatches
from odenet.data.detection_images import DetectionImages
from odenet.data.detection_targets import DetectionTargets
from odenet.data.image_data import ImageData
from odenet.data.masked_images import MaskedImages, masked_folder, voc2012
from odenet.data.points import POINT_SETS, PointBatches, Points, annuli, moons, spirals, swapped_line
from odenet.data.scenes.batch import SceneBatch
from odenet.data.scenes.batches import SceneBatches
from odenet.data.scenes.garments import garment_scenes
from odenet.data.scenes.objects import ObjectBatches
from odenet.data.scenes.scenes import Scenes
from odenet.data.split import Split

__all__ = [
    "DATA_SETS",
    "POINT_SETS",
    "Augmentation",
    "Batches",
    "Compose",
    "CropBatches",
    "DetectionBatches",
    "DetectionImages",
    "DetectionTargets",
    "ImageData",
    "MaskedImages",
    "ObjectBatches",
    "PointBatches",
    "Points",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "SceneBatch",
    "SceneBatches",
    "Scenes",
    "Split",
    "annuli",
    "coco_folder",
    "data_root",
    "garment_scenes",
    "load",
    "masked_folder",
    "moons",
    "spirals",
    "swapped_line",
    "voc2012",
    "voc_detection",
]
