"""Batches of images from files for detectors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from odenet.data import DetectionBatches, DetectionImages, coco_folder
from odenet.data.detection_batches import mirrored
from odenet.models import backbone_of, cifar_resnet, mask_rcnn
from odenet.training import Detection, Training, fingerprint, fit
from tests.coco_files import write


@pytest.fixture
def images(tmp_path: Path) -> DetectionImages:
    return coco_folder(*write(tmp_path))


def test_a_test_has_every_image_once_in_order(images: DetectionImages) -> None:
    batches = list(DetectionBatches(images, 1, train=False).epoch(0))
    assert [tuple(image.shape) for batch, _ in batches for image in batch] == [(3, 8, 10), (3, 4, 6)]
    assert torch.equal(batches[0][0][0], images.read(0)[0] / 255)


def test_a_training_mirrors_at_random_and_is_a_function_of_epoch_and_index(images: DetectionImages) -> None:
    batches = DetectionBatches(images, 2, train=True, masks=True)
    epochs = [fingerprint(next(batches.epoch(epoch))) for epoch in range(12)]
    assert len(set(epochs)) > 4
    assert epochs[3] == fingerprint(next(batches.epoch(3, 0)))


def test_a_mirrored_image_has_its_objects_where_they_are(images: DetectionImages) -> None:
    pixels, target = images.read(0, masks=True)
    image, turned = mirrored(pixels, target)
    for box, mask in zip(turned["boxes"].long().tolist(), turned["masks"], strict=True):
        x1, y1, x2, y2 = box
        assert mask.sum() == mask[y1:y2, x1:x2].sum() > 0
    again = mirrored(image, turned)
    assert torch.equal(again[0], pixels)
    assert fingerprint(again[1]) == fingerprint(target)


def test_processes_share_a_batch(images: DetectionImages) -> None:
    whole = next(DetectionBatches(images, 2, train=True, seed=3).epoch(0))
    shares = [next(DetectionBatches(images, 2, train=True, seed=3, rank=r, world_size=2).epoch(0)) for r in range(2)]
    assert fingerprint(whole) == fingerprint(tuple(first + second for first, second in zip(*shares, strict=True)))
    with pytest.raises(ValueError, match=r"batch_size=1 cannot be shared by world_size=2 processes"):
        DetectionBatches(images, 1, train=True, world_size=2)


def test_a_smaller_last_batch_counts_in_a_test_only(images: DetectionImages) -> None:
    assert len(DetectionBatches(images, 2, train=True)) == len(DetectionBatches(images, 2, train=False)) == 1
    with pytest.raises(ValueError, match=r"batch_size must be a whole number from 1 to 2.*, got 3: there are 2 images"):
        DetectionBatches(images, 3, train=True)


def test_a_detector_is_trained_and_tested_on_a_folder_with_crowds(images: DetectionImages, tmp_path: Path) -> None:
    backbone = backbone_of(cifar_resnet(1, widths=(4, 6, 8), activation="pre"))
    net = mask_rcnn(backbone, 3, size=32, channels=8, hidden=8, _skip_resize=False)
    train, test = (DetectionBatches(images, 2, train=train, masks=True) for train in (True, False))
    settings = Training(epochs=1, batch_size=2, optimizer="adamw", lr=1e-3, device="cpu", threads=1)
    task = Detection(images.classes, masks=True)
    history = fit(net, task, train, test, settings, seed=0, folder=tmp_path / "run", quiet=True)
    assert {"test_mAP", "test_mask mAP", "train_loss"} <= history.last.keys()
