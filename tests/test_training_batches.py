"""The training loop uses nothing of its batches but the interface of `BatchSource`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from odenet.training import BatchSource, Classification, evaluate, fit
from tests.training_cases import SETTINGS, train_batches


class Labels:
    labels = torch.tensor([0, 1, 1])


class Corners:
    """Three batches of one example each."""

    split = Labels()

    def __len__(self) -> int:
        return 3

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        return ((torch.eye(3)[[i], :2], self.split.labels[[i]]) for i in range(start, 3))


def test_any_object_with_a_split_a_length_and_epochs_serves_as_batches(tmp_path: Path) -> None:
    assert evaluate(nn.Identity(), Classification(2), Corners())["accuracy"] == pytest.approx(2 / 3)
    history = fit(
        nn.Linear(2, 2), Classification(2), Corners(), Corners(), SETTINGS, seed=0, folder=tmp_path, quiet=True
    )
    assert len(history.rows) == SETTINGS.epochs


def test_the_batches_of_the_library_are_such_objects() -> None:
    source: BatchSource = train_batches()  # pyright holds this line
    assert len(list(source.epoch(0, 2))) == len(source) - 2
