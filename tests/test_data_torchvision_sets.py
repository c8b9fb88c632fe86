"""Torchvision's data sets are read only if their files are intact: on miniature files and the real Fashion-MNIST."""

from __future__ import annotations

import hashlib
import pickle
import socket
import sys
from collections.abc import Callable
from http.client import IncompleteRead
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision.datasets
from torchvision.datasets import CIFAR10, MNIST

from odenet.data import ImageData, load, torchvision_sets

RAW_FILES = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


def write_idx(file: Path, values: np.ndarray) -> None:
    """Write an IDX file: two zero bytes, 8 (unsigned bytes), number of axes, each length in four bytes, the values."""
    lengths = np.array(values.shape, dtype=">u4").tobytes()
    file.write_bytes(bytes([0, 0, 8, values.ndim]) + lengths + values.astype(np.uint8).tobytes())


@pytest.fixture
def miniature_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root folder with MNIST of 20 and 10 images, whose checksums count as the published ones."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, n in {"train": 20, "t10k": 10}.items():
        write_idx(folder / f"{part}-images-idx3-ubyte", np.arange(n * 28 * 28).reshape(n, 28, 28) % 251)
        write_idx(folder / f"{part}-labels-idx1-ubyte", np.arange(n) % 10)
    checksums = {name: md5(folder / name) for name in RAW_FILES}
    monkeypatch.setattr(torchvision_sets, "_UNPACKED_MD5", {"MNIST": checksums})
    return tmp_path


@pytest.fixture
def miniature_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root folder with CIFAR-10 in two files of 10 images each, whose checksums torchvision counts as published."""
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()

    def write(name: str, content: dict[str, Any]) -> str:
        (folder / name).write_bytes(pickle.dumps(content))
        return md5(folder / name)

    pixels = np.arange(10 * 3072, dtype=np.uint32).reshape(10, 3072) % 253
    images = {"data": pixels.astype(np.uint8), "labels": list(range(10))}
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", write("data_batch_1", images)]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", write("test_batch", images)]])
    meta = {"label_names": [f"class {k}" for k in range(10)]}
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": write("batches.meta", meta)})
    return tmp_path


def failing(error: Exception) -> Callable[..., None]:
    def download(*_: Any, **__: Any) -> None:
        raise error

    return download


def test_grey_images_become_one_channel(miniature_mnist: Path) -> None:
    data = load("mnist", miniature_mnist, download=False)
    assert (len(data.train), len(data.test), data.num_classes) == (20, 10, 10)
    assert data.train.image_shape == (1, 28, 28)
    assert torch.equal(data.train.images.flatten().long(), torch.arange(20 * 28 * 28) % 251)
    assert torch.equal(data.test.labels, torch.arange(10))


def test_colour_images_become_three_channels_in_front(miniature_cifar10: Path) -> None:
    data = load("cifar10", miniature_cifar10, download=False)
    assert data.train.image_shape == (3, 32, 32)
    assert data.train.images.is_contiguous()
    assert torch.equal(data.train.images.flatten().long(), torch.arange(10 * 3072) % 253)
    assert torch.equal(data.train.labels, torch.arange(10))
    assert data.classes == tuple(f"class {k}" for k in range(10))


def test_files_that_are_there_are_not_downloaded(miniature_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MNIST, "download", failing(AssertionError("downloaded")))
    assert len(load("mnist", miniature_mnist).train) == 20


@pytest.mark.parametrize("name", RAW_FILES)
@pytest.mark.parametrize("length", [0, 7, 100])
def test_a_truncated_file_is_refused_by_name(miniature_mnist: Path, name: str, length: int) -> None:
    file = miniature_mnist / "MNIST" / "raw" / name
    file.write_bytes(file.read_bytes()[:length] if length < 10 else file.read_bytes()[:-1])
    with pytest.raises(
        ValueError, match=rf"{name}' \({file.stat().st_size} bytes\) is not the published file.*truncated.*delete it"
    ):
        load("mnist", miniature_mnist)


def test_a_file_with_one_wrong_byte_is_refused_by_name(miniature_cifar10: Path) -> None:
    file = miniature_cifar10 / CIFAR10.base_folder / "test_batch"
    content = bytearray(file.read_bytes())
    content[500] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"test_batch' .* its MD5 is [0-9a-f]{32} instead of [0-9a-f]{32}"):
        load("cifar10", miniature_cifar10)


@pytest.mark.parametrize(
    ("name", "folder", "file"),
    [
        ("mnist", "MNIST/raw", "train-images-idx3-ubyte"),
        ("fashion-mnist", "FashionMNIST/raw", "t10k-labels-idx1-ubyte"),
        ("cifar10", "cifar-10-batches-py", "data_batch_5"),
        ("cifar100", "cifar-100-python", "meta"),
    ],
)
def test_an_absent_set_is_refused_with_files_folder_and_option(
    tmp_path: Path, name: str, folder: str, file: str
) -> None:
    with pytest.raises(FileNotFoundError) as refusal:
        load(name, tmp_path, download=False)
    for part in (f"'{tmp_path / folder}'", file, "downloading was not allowed", "--data-root", "ODENET_DATA", "http"):
        assert part in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_only_what_is_missing_is_called_missing(miniature_mnist: Path) -> None:
    (miniature_mnist / "MNIST" / "raw" / RAW_FILES[0]).unlink()
    with pytest.raises(FileNotFoundError, match=rf"lacks {RAW_FILES[0]}, and"):
        load("mnist", miniature_mnist, download=False)


@pytest.mark.parametrize(
    "error",
    [URLError("no network"), RuntimeError("no\nnetwork."), IncompleteRead(b""), TimeoutError("timed out"), EOFError()],
    ids=lambda error: type(error).__name__,
)
def test_a_download_that_fails_is_reported_with_its_reason_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(MNIST, "download", failing(error))
    with pytest.raises(FileNotFoundError, match=rf"failed \({type(error).__name__}.*\)\. Put") as refusal:
        load("mnist", tmp_path)
    assert refusal.value.__cause__ is error
    assert "\n" not in str(refusal.value)


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(FileNotFoundError, match=r"the download failed \(\w+Error: .*file"):
        load("mnist", tmp_path / "file")


def test_a_download_that_provides_nothing_is_reported(tmp_path: Path) -> None:
    # torchvision still takes this layout, from before version 0.9, for a complete data set.
    (tmp_path / "MNIST" / "processed").mkdir(parents=True)
    for name in (MNIST.training_file, MNIST.test_file):
        torch.save((torch.zeros(1, 28, 28), torch.zeros(1)), tmp_path / "MNIST" / "processed" / name)
    with pytest.raises(FileNotFoundError, match="the download did not provide them"):
        load("mnist", tmp_path)


def test_a_silent_server_is_given_up_and_the_limit_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float | None] = []

    def download(_: Any) -> None:
        limits.append(socket.getdefaulttimeout())
        raise TimeoutError("timed out")

    monkeypatch.setattr(MNIST, "download", download)
    before = socket.getdefaulttimeout()
    with pytest.raises(FileNotFoundError):
        load("mnist", tmp_path)
    assert limits[0] is not None
    assert socket.getdefaulttimeout() == before


def test_a_download_fills_an_empty_folder_and_is_verified(
    miniature_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(dataset: MNIST, spoil: bool) -> None:
        folder = Path(dataset.raw_folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in RAW_FILES:
            content = (miniature_mnist / "MNIST" / "raw" / name).read_bytes()
            (folder / name).write_bytes(content[:-1] if spoil else content)

    monkeypatch.setattr(MNIST, "download", lambda dataset: download(dataset, spoil=False))
    assert len(load("mnist", tmp_path / "new").train) == 20
    monkeypatch.setattr(MNIST, "download", lambda dataset: download(dataset, spoil=True))
    with pytest.raises(ValueError, match=r"spoilt.*train-images-idx3-ubyte' .* its MD5 is"):
        load("mnist", tmp_path / "spoilt")


def test_without_torchvision_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'odenet\[data\]'"):
        load("mnist", tmp_path)


@pytest.fixture(scope="module")
def fashion_mnist(real_data_root: Path) -> ImageData:
    if not (real_data_root / "FashionMNIST" / "raw" / RAW_FILES[0]).is_file():
        pytest.skip(f"the real Fashion-MNIST is not in {real_data_root}")
    return load("fashion-mnist", real_data_root, download=False)


def test_the_real_fashion_mnist_has_6000_training_and_1000_test_images_of_each_class(fashion_mnist: ImageData) -> None:
    assert fashion_mnist.train.labels.bincount().tolist() == [6000] * 10
    assert fashion_mnist.test.labels.bincount().tolist() == [1000] * 10
    assert fashion_mnist.train.image_shape == (1, 28, 28)


def test_the_real_fashion_mnist_has_the_mean_and_std_that_are_in_use_everywhere(fashion_mnist: ImageData) -> None:
    assert fashion_mnist.mean == pytest.approx((0.2860,), abs=5e-5)
    assert fashion_mnist.std == pytest.approx((0.3530,), abs=5e-5)


def test_the_real_fashion_mnist_is_torchvisions_image_by_image(fashion_mnist: ImageData, real_data_root: Path) -> None:
    reference = torchvision.datasets.FashionMNIST(str(real_data_root), train=False)
    for index in (0, 1, 9999):
        image, label = reference[index]
        assert torch.equal(fashion_mnist.test.images[index, 0], torch.from_numpy(np.array(image)))
        assert fashion_mnist.test.labels[index] == label
