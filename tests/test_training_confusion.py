"""The confusion matrix equals that of torchmetrics."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.classification import MulticlassConfusionMatrix

from odenet.training.confusion import confusion
from tests.test_training_segmentation import VOID, masks


@pytest.mark.parametrize("ignore_index", [None, 0, VOID, -1])
def test_a_confusion_matrix_is_that_of_torchmetrics(ignore_index: int | None):
    outputs, targets = masks(2, void=ignore_index == VOID)
    if ignore_index == -1:
        targets[0, 0, :3] = -1
    expected = MulticlassConfusionMatrix(4, ignore_index=ignore_index)
    expected.update(outputs, targets)
    assert torch.equal(confusion(outputs.argmax(dim=1), targets, 4, ignore_index), expected.compute())
