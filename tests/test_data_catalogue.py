"""Data sets are loaded by name, from the folder that the argument or the environment names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from odenet.data import DATA_SETS, Compose, RandomFlip, Scenes, data_root, load


def test_an_unknown_data_set_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match=r"unknown data set 'fashion_mnist'; did you mean 'fashion-mnist'\?"):
        load("fashion_mnist")


def test_the_folder_is_the_argument_before_the_variable_before_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ODENET_DATA", raising=False)
    assert data_root() == Path("data")
    monkeypatch.setenv("ODENET_DATA", "elsewhere")
    assert data_root() == Path("elsewhere")
    assert data_root("here") == Path("here")


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_root("~/sets") == tmp_path / "sets"


def test_the_variable_is_where_a_data_set_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODENET_DATA", str(tmp_path / "sets"))
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "sets")):
        load("cifar100", download=False)


def test_digits_are_never_mirrored() -> None:
    for name in ("digits", "mnist"):
        parts = Compose(DATA_SETS[name].augmentation or Compose()).parts
        assert not any(isinstance(part, RandomFlip) for part in parts)


def test_a_smaller_training_set_is_the_same_in_every_run() -> None:
    first, second = (load("digits", train_images=50).train for _ in range(2))
    assert torch.equal(first.images, second.images)
    assert first.labels.bincount().tolist() == [5] * 10


@pytest.mark.parametrize(("train_images", "error"), [(0, ValueError), (1438, ValueError), (10.0, TypeError)])
def test_a_training_set_of_an_impossible_size_is_refused(train_images: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"train_images.* whole number"):
        load("digits", train_images=train_images)


def test_a_validation_split_is_the_same_however_many_images_are_trained_on() -> None:
    whole, few = (load("digits", validation_share=1 / 12, train_images=n) for n in (None, 40))
    assert whole.validation is not None
    assert few.validation is not None
    assert torch.equal(whole.validation.images, few.validation.images)
    assert len(whole.train) + len(whole.validation) == len(load("digits").train)
    assert len(few.train) == 40


def test_without_a_share_there_is_no_validation_split() -> None:
    assert load("digits").validation is None


def test_a_validation_share_that_leaves_a_class_empty_is_refused() -> None:
    with pytest.raises(ValueError, match=r"share of 0\.001 leaves class '0' .* 0 validation images"):
        load("digits", validation_share=0.001)


def test_scenes_are_read_without_a_file_and_are_the_same_each_time(tmp_path: Path) -> None:
    data = load("scenes", tmp_path / "nothing", train_images=40)
    assert (data.num_classes, data.in_channels, data.image_size) == (4, 3, (64, 64))
    assert data.train.labels.bincount().tolist() == [10] * 4
    assert len(data.test) == 2000
    first = Scenes(part="test").draw(range(20))
    assert torch.equal(data.test.images[:20], first.images)
    assert torch.equal(data.test.labels[:20], first.label)


def test_garments_are_looked_for_where_fashion_mnist_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "FashionMNIST")):
        load("garments", tmp_path, download=False)


def test_importing_the_data_package_imports_neither_torchvision_nor_scikit_learn() -> None:
    check = "import sys, odenet.data; print(*{'torchvision', 'sklearn'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
