"""Metrics of the confusion matrix equal those of torchmetrics, and the mean IoU names the classes it leaves out."""

from __future__ import annotations

import warnings

import pytest
import torch
from torchmetrics import Metric
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MulticlassJaccardIndex,
)

from odenet.blocks.errors import OdenetWarning
from odenet.training import Segmentation
from odenet.training.confusion_metrics import MeanIoU
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


def of_torchmetrics(ignore_index: int | None) -> dict[str, Metric]:
    options = {"num_classes": 4, "ignore_index": ignore_index}
    return {
        "mean_iou": MulticlassJaccardIndex(**options),
        "pixel_accuracy": MulticlassAccuracy(average="micro", **options),
        "mean_accuracy": MulticlassAccuracy(average="macro", **options),
        "frequency_weighted_iou": MulticlassJaccardIndex(average="weighted", **options),
        "dice": MulticlassF1Score(average="macro", **options),
    }


@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("ignore_index", [None, 0, VOID])
@pytest.mark.filterwarnings("ignore:no pixel is of class")
def test_metrics_are_those_of_torchmetrics_also_in_batches(ignore_index: int | None, absent: bool):
    outputs, targets = masks(4, void=ignore_index == VOID)
    if absent:
        targets, outputs = targets.where(targets != 2, 1), outputs.index_fill(1, torch.tensor(2), -9.0)
    ours, theirs = Segmentation(4, ignore_index=ignore_index).metrics(), of_torchmetrics(ignore_index)
    for batch in (slice(0, 1), slice(1, 4)):
        for metrics in (ours, *theirs.values()):
            metrics.update(outputs[batch], targets[batch])
    found, expected = ours.compute(), {name: metric.compute() for name, metric in theirs.items()}
    assert {name: float(found[name]) for name in expected} == pytest.approx(
        {name: float(value) for name, value in expected.items()}
    )


def test_each_metric_alone_counts_as_it_does_among_the_others():
    outputs, targets = masks(3)
    together = Segmentation(4).metrics()
    together.update(outputs, targets)
    alone = Segmentation(4).metrics()["mean_iou"]
    alone.update(outputs, targets)
    assert isinstance(alone, MeanIoU)
    assert torch.equal(alone.compute(), together.compute()["mean_iou"])


def test_a_split_with_nothing_to_judge_has_no_mean_and_is_told():
    metrics = Segmentation(4, ignore_index=VOID).metrics()
    metrics.update(masks(2)[0], torch.full((2, 6, 9), VOID))
    with pytest.warns(OdenetWarning, match="no pixel is judged in all of these masks"):
        assert metrics.compute()["mean_iou"].isnan()
