"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 through torchvision, with every file verified by its checksum."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from odenet.data.extras import data_package
from odenet.data.split import Split

_TIMEOUT = 30.0
"""Seconds without any data after which a download is abandoned."""

# torchvision verifies only the archives that it downloads for these two sets: if unpacking was interrupted, it would
# read the truncated file in every later run. So the unpacked files have checksums here too (MD5, as torchvision's).
_UNPACKED_MD5 = {
    "MNIST": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}


def read_torchvision(class_name: str, root: Path, download: bool) -> tuple[Split, Split, tuple[str, ...]]:
    """Return the training split, test split and class names of a data set that torchvision reads.

    Args:
        class_name: Name in `torchvision.datasets`: MNIST, FashionMNIST, CIFAR10 or CIFAR100.
        root: Folder of the data sets in torchvision's layout, e.g. `root/FashionMNIST/raw/train-images-idx3-ubyte`.
        download: Whether to download the set if files are missing.

    Raises:
        FileNotFoundError: if files are missing and were not or could not be downloaded.
        ValueError: if a file differs from the published one.
        ModuleNotFoundError: if torchvision is not installed.
    """
    dataset = getattr(data_package("torchvision.datasets"), class_name)
    checksums = _published_files(dataset, root)
    if _missing(checksums):
        _fetch(dataset, root, checksums, download)
    _verify(checksums)
    train, test = (dataset(str(root), train=train) for train in (True, False))
    return _split(train), _split(test), tuple(train.classes)


def _published_files(dataset: Any, root: Path) -> dict[Path, str]:
    """Return the files of the data set, each with the MD5 of its published content."""
    if dataset.__name__ in _UNPACKED_MD5:
        folder = root / dataset.__name__ / "raw"
        return {folder / name: md5 for name, md5 in _UNPACKED_MD5[dataset.__name__].items()}
    meta = [dataset.meta["filename"], dataset.meta["md5"]]
    return {root / dataset.base_folder / name: md5 for name, md5 in [*dataset.train_list, *dataset.test_list, meta]}


def _missing(files: dict[Path, str]) -> list[Path]:
    return [file for file in files if not file.is_file()]


def _fetch(dataset: Any, root: Path, checksums: dict[Path, str], download: bool) -> None:
    """Download the data set, or raise an error that says which files are missing and where they belong."""
    if not download:
        raise _missing_error(dataset, root, checksums, "downloading was not allowed")
    try:
        with _socket_timeout(_TIMEOUT):
            dataset(str(root), train=True, download=True)
    except Exception as error:
        # If the files arrived, go on: torchvision also reads them after a download, and `_verify` names a bad file.
        cause, reason = error, f"the download failed ({type(error).__name__}: {error})"
    else:
        cause, reason = None, "the download did not provide them"
    if _missing(checksums):
        raise _missing_error(dataset, root, checksums, reason) from cause


def _missing_error(dataset: Any, root: Path, checksums: dict[Path, str], reason: str) -> FileNotFoundError:
    files = _missing(checksums)
    names = ", ".join(file.name for file in files)
    return FileNotFoundError(
        f"{dataset.__name__} was requested, but '{files[0].parent}' lacks {names}, "
        f"and {' '.join(reason.split())}. Put these files there, unpacked (from {_source(dataset)}), or give the "
        f"folder that contains them instead of '{root}', by --data-root or by the environment variable ODENET_DATA."
    )


def _source(dataset: Any) -> str:
    return dataset.url if hasattr(dataset, "url") else dataset.mirrors[0]


def _verify(checksums: dict[Path, str]) -> None:
    for file, published in checksums.items():
        found = data_package("torchvision.datasets.utils").calculate_md5(file)
        if found != published:
            raise ValueError(
                f"'{file}' ({file.stat().st_size} bytes) is not the published file: its MD5 is {found} instead of "
                f"{published}, so it is truncated, damaged or a different file; delete it and load again to download "
                "it, or replace it."
            )


def _split(dataset: Any) -> Split:
    """Convert a torchvision data set, with grey images (n, H, W) or colour images (n, H, W, C), to a split."""
    images = torch.as_tensor(dataset.data)
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
    return Split(images.contiguous(), torch.as_tensor(dataset.targets, dtype=torch.int64))


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Set a time limit for sockets opened in the context, since torchvision sets none and could wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
