"""Tensor files are read with their metadata as they were written, or refused as damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from odenet.training.tensor_files import DamagedFile, read_tensors, tensors_from_bytes, tensors_to_bytes
from tests.training_cases import damages

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b.c": torch.tensor(3), "θ": torch.zeros(0, dtype=torch.bfloat16)}
ABOUT = {"what": "a test, θ", "zeros": "0" * 64, "z": "1", "y": "2", "x": "3"}


def test_tensors_and_texts_come_back() -> None:
    tensors, about, checked = tensors_from_bytes(tensors_to_bytes(TENSORS, ABOUT))
    assert checked
    assert about.pop("format") == "pt"
    assert about == ABOUT
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())


def test_safetensors_reads_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(tensors_to_bytes(TENSORS, ABOUT))
    found = safetensors.torch.load_file(tmp_path / "file")
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


def test_the_same_content_gives_the_same_bytes_whatever_the_layout_in_memory() -> None:
    strided = TENSORS | {"a": TENSORS["a"].t().contiguous().t()}
    assert len({tensors_to_bytes(content, ABOUT) for content in (TENSORS, strided, TENSORS)}) == 1


def test_every_changed_bit_is_noticed() -> None:
    for damaged in damages(tensors_to_bytes(TENSORS, ABOUT), count=600):
        with pytest.raises(DamagedFile):
            tensors_from_bytes(damaged)


def test_a_file_of_another_program_is_read_as_unchecked() -> None:
    tensors, about, checked = tensors_from_bytes(safetensors.torch.save(TENSORS, metadata={"x": "y"}))
    assert (about, checked) == ({"x": "y"}, False)
    assert torch.equal(tensors["a"], TENSORS["a"])


@pytest.mark.parametrize("header", [[1], {"__metadata__": [1]}, {"__metadata__": None}, {"a": 1}, 1, "text"])
def test_a_header_of_another_kind_is_refused(header: object, tmp_path: Path) -> None:
    line = json.dumps(header).encode()
    (tmp_path / "file").write_bytes(len(line).to_bytes(8, "little") + line)
    with pytest.raises(DamagedFile, match=r"."):
        read_tensors(tmp_path / "file")
