"""The mean IoU says which classes it leaves out."""

from __future__ import annotations

import warnings

import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from odenet.blocks.errors import OdenetWarning
from odenet.training import Segmentation
from odenet.training.iou_metric import MeanIoU
from tests.test_training_segmentation import VOID, masks, pixels


def test_a_class_that_never_occurs_is_named_beside_the_mean_that_leaves_it_out():
    outputs, targets = pixels([[5, 0, 0], [0, 4, 0], [0, 0, 0]])
    metrics = Segmentation(3).metrics()
    metrics.update(outputs, targets)
    with pytest.warns(OdenetWarning, match=r"no pixel is of class 2 in all of these masks \(1 of 3"):
        assert float(metrics.compute()["mean_iou"]) == 1


def test_classes_that_occur_in_another_batch_are_not_absent_nor_is_the_one_to_ignore():
    task = Segmentation(3, ignore_index=0)
    metrics = task.metrics()
    for k in (0, 1, 2):
        metrics.update(torch.randn(1, 3, 1, 4), torch.full((1, 1, 4), k))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.compute()


@pytest.mark.parametrize("ignore_index", [None, 0, VOID])
def test_where_every_class_occurs_it_is_that_of_torchmetrics(ignore_index: int | None):
    outputs, targets = masks(2, void=ignore_index == VOID)
    metric, expected = MeanIoU(4, ignore_index), MulticlassJaccardIndex(4, ignore_index=ignore_index)
    for reference in (metric, expected):
        reference.update(outputs, targets)
    assert metric.compute() == expected.compute()


def test_a_split_with_nothing_to_judge_has_no_mean_and_is_told():
    metrics = Segmentation(4, ignore_index=VOID).metrics()
    metrics.update(masks(2)[0], torch.full((2, 6, 9), VOID))
    with pytest.warns(OdenetWarning, match="no pixel is judged in all of these masks"):
        assert metrics.compute()["mean_iou"].isnan()
