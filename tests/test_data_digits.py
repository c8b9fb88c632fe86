"""The digits of scikit-learn are split once and for all, with every digit in one of the two splits."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from odenet.data import load


def test_the_split_holds_every_digit_once() -> None:
    data = load("digits")
    both = torch.cat([data.train.images, data.test.images]).flatten(1)
    everything = torch.from_numpy(load_digits(return_X_y=True)[0] * 255 / 16).round().to(torch.uint8)
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert sorted(map(bytes, both.numpy())) == sorted(map(bytes, everything.numpy()))


def test_no_digit_is_more_frequent_in_the_test_split_than_in_all_by_more_than_one_image() -> None:
    expected = torch.from_numpy(load_digits(return_X_y=True)[1]).bincount() * 360 / 1797
    assert torch.all((load("digits").test.labels.bincount() - expected).abs() < 1)


def test_ink_from_0_to_16_becomes_bytes_from_0_to_255_without_merging_levels() -> None:
    levels = load("digits").train.images.unique()
    assert (len(levels), int(levels.min()), int(levels.max())) == (17, 0, 255)


def test_the_split_is_the_one_the_records_were_made_on() -> None:
    test = load("digits").test
    digest = hashlib.sha256(test.images.numpy().tobytes() + test.labels.numpy().tobytes()).hexdigest()
    assert digest.startswith("a2fc2790f951761e")


def test_digits_need_neither_a_folder_nor_a_download(tmp_path: Path) -> None:
    assert len(load("digits", tmp_path / "absent", download=False).train) == 1437


def test_without_scikit_learn_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'odenet\[data\]'"):
        load("digits")
