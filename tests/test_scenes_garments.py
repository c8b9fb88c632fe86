"""Scenes of garments show the pixels above the background of Fashion-MNIST: on small images, and on the real ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from odenet.data import Scenes, Split, garment_scenes
from odenet.data.scenes.garments import garment_templates

NAMES = ("square", "bar")


def split() -> Split:
    """Return five images of 28×28: squares with a rim too faint to count, bars, and an empty image."""
    images = torch.zeros(5, 1, 28, 28, dtype=torch.uint8)
    images[[1, 3], :, 6:22, 6:22] = 10
    images[[1, 3], :, 8:20, 8:20] = 200
    images[[0, 4], :, 12:16, 4:24] = 120
    return Split(images, torch.tensor([1, 0, 0, 0, 1]))


def test_the_object_is_what_is_brighter_than_the_rim_and_an_image_of_nothing_is_left_out() -> None:
    templates = garment_templates(split(), NAMES)
    own = templates.classes >= 0
    assert templates.classes[own].tolist() == [0, 0, 1, 1]
    assert (templates.parts[own] > 0).sum((1, 2)).tolist() == [144, 144, 80, 80]
    assert (templates.classes == -1).sum() == 64


def test_in_a_scene_without_turn_an_object_has_one_colour_times_its_grey() -> None:
    scenes = Scenes((48, 48), objects=(1, 1), clutter=(0, 0), templates=garment_templates(split(), NAMES))
    batch = scenes.draw(range(40))
    for image, owners in zip(batch.images, batch.owners, strict=True):
        # An object of one shade has one colour up to grain and the light, which changes by at most a quarter each way.
        colours = image[:, owners == 1].float()
        assert float((colours - colours.mean(1, keepdim=True)).abs().max()) < 25 + 0.3 * float(colours.mean(1).max())
    assert batch.label.unique().tolist() == [0, 1]


def test_scenes_of_garments_have_the_targets_of_scenes() -> None:
    batch = Scenes((20, 30), objects=(2, 3), templates=garment_templates(split(), NAMES)).draw(range(30))
    assert batch.labels.shape == (30, 2)
    assert int(batch.semantic.max()) == 2
    assert torch.equal((batch.classes >= 0), batch.areas > 0)


def test_absent_images_are_asked_for_by_their_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="FashionMNIST was requested"):
        garment_scenes(tmp_path, download=False)


def test_training_scenes_are_of_training_images_and_test_scenes_of_test_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, test = split(), Split(255 - split().images, split().labels)
    monkeypatch.setattr("odenet.data.scenes.garments.read_torchvision", lambda *_: (train, test, NAMES))
    training, testing = garment_scenes(tmp_path, size=(16, 16), seed=4, clutter=(0, 0))
    assert (training.part, testing.part) == ("training", "test")
    assert training.seed == testing.seed == 4
    assert torch.equal(training.templates.shades, garment_templates(train, NAMES).shades)
    assert torch.equal(testing.templates.shades, garment_templates(test, NAMES).shades)


def test_real_garments_are_seen_in_ten_classes(real_data_root: Path) -> None:
    if not (real_data_root / "FashionMNIST").exists():
        pytest.skip("needs the real Fashion-MNIST")
    _, test = garment_scenes(real_data_root, download=False, size=(32, 32))
    batch = test.draw(range(200))
    assert len(test.classes) == 10
    assert batch.label.unique().tolist() == list(range(10))
    assert 0.05 < float((batch.owners > 0).float().mean()) < 0.5
