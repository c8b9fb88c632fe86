"""Segmentation has the metrics of Long et al. 2015 and the losses of its formula, checked by hand."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from odenet.blocks.errors import OdenetWarning
from odenet.training import Segmentation
from tests.test_training_tasks import TaskLaws

VOID = 255


def masks(n: int, *, void: bool = False) -> tuple[Tensor, Tensor]:
    """Return random logits for four classes and masks of 6×9 pixels, with some `void` pixels if given."""
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(n, 4, 6, 9, generator=generator), torch.randint(0, 4, (n, 6, 9), generator=generator)
    if void:
        targets[:, 2:4, 1:5] = VOID
    return outputs, targets


class TestSegmentation(TaskLaws):
    task = Segmentation(4)

    def batch(self, n: int) -> tuple[Tensor, Tensor]:
        return masks(n)


class TestSegmentationWithAllOptions(TaskLaws):
    task = Segmentation(4, ignore_index=VOID, class_weights=(1.0, 2.0, 3.0, 4.0), dice=0.5)

    def batch(self, n: int) -> tuple[Tensor, Tensor]:
        return masks(n, void=True)


class TestSegmentationWithoutBackground(TaskLaws):
    task = Segmentation(4, ignore_index=0)

    def batch(self, n: int) -> tuple[Tensor, Tensor]:
        return masks(n)


CONFUSION = [[50, 3, 2], [4, 20, 6], [0, 5, 10]]
"""Confusion matrix n_ij: number of pixels of class i that are predicted as j."""


def pixels(confusion: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Return one image of one row with that confusion matrix, as logits and as a mask."""
    pairs = [(i, j) for i, row in enumerate(confusion) for j, count in enumerate(row) for _ in range(count)]
    true, found = torch.tensor(pairs).T
    return F.one_hot(found, len(confusion)).float().T[None, :, None], true[None, None]


def test_metrics_are_the_formulas_of_long_et_al():
    outputs, targets = pixels(CONFUSION)
    metrics = Segmentation(3).metrics()
    metrics.update(outputs[..., :40], targets[..., :40])  # in two batches, as metrics are of the whole split
    metrics.update(outputs[..., 40:], targets[..., 40:])
    n = torch.tensor(CONFUSION).double()
    t, right = n.sum(dim=1), n.diagonal()
    iou = right / (t + n.sum(dim=0) - right)
    expected = {
        "pixel_accuracy": right.sum() / t.sum(),
        "mean_accuracy": (right / t).mean(),
        "mean_iou": iou.mean(),
        "frequency_weighted_iou": (t * iou).sum() / t.sum(),
        "dice": (2 * right / (t + n.sum(dim=0))).mean(),
    }
    values = metrics.compute()
    assert {name: float(values[name]) for name in expected} == pytest.approx(
        {name: float(value) for name, value in expected.items()}
    )


def test_a_class_that_neither_occurs_nor_is_predicted_does_not_count():
    outputs, targets = pixels([[5, 1, 0], [2, 4, 0], [0, 0, 0]])
    metrics = Segmentation(3).metrics()
    metrics.update(outputs, targets)
    assert float(metrics.compute()["mean_iou"]) == pytest.approx((5 / 8 + 4 / 7) / 2)
    assert float(metrics.compute()["dice"]) == pytest.approx((10 / 13 + 8 / 11) / 2)


def test_a_split_with_nothing_to_judge_is_told_when_it_is_given():
    with pytest.warns(OdenetWarning, match=r"all 108 pixels of 2 masks are 255, which is ignored: there is nothing"):
        Segmentation(4, ignore_index=VOID).check(torch.full((2, 6, 9), VOID))


@pytest.mark.parametrize("dice", [0.0, 0.3, 1.0])
def test_ignored_pixels_change_neither_loss_nor_metrics(dice: float):
    task = Segmentation(4, ignore_index=VOID, class_weights=(1.0, 2.0, 3.0, 4.0), dice=dice)
    outputs, targets = masks(3, void=True)
    others = torch.where((targets == VOID).unsqueeze(1), -outputs, outputs)
    assert not torch.equal(outputs.argmax(dim=1), others.argmax(dim=1))
    assert torch.equal(task.loss(outputs, targets), task.loss(others, targets))
    assert torch.equal(task.score(outputs, targets), task.score(others, targets))
    values = []
    for logits in (outputs, others):
        metrics = task.metrics()
        metrics.update(logits, targets)
        values.append(metrics.compute())
    assert values[0] == values[1]


def test_the_cross_entropy_is_that_of_torch():
    outputs, targets = masks(3, void=True)
    weights = (1.0, 2.0, 3.0, 4.0)
    loss = Segmentation(4, ignore_index=VOID, class_weights=weights).loss(outputs, targets)
    torch.testing.assert_close(loss, F.cross_entropy(outputs, targets, weight=torch.tensor(weights), ignore_index=VOID))


def test_the_dice_loss_is_one_minus_the_mean_overlap_of_the_classes_shown():
    targets = torch.tensor([[[0, 0, 1, 1]]])
    outputs = torch.log(torch.tensor([0.5, 0.25, 0.25])).view(1, 3, 1, 1).expand(1, 3, 1, 4)
    overlaps = 2 * 0.5 * 2 / (4 * 0.5 + 2), 2 * 0.25 * 2 / (4 * 0.25 + 2)
    assert float(Segmentation(3, dice=1.0).loss(outputs, targets)) == pytest.approx(1 - sum(overlaps) / 2)


@pytest.mark.parametrize("dice", [0.0, 0.5])
def test_a_batch_with_nothing_to_judge_has_loss_and_gradient_0(dice: float):
    task = Segmentation(4, ignore_index=VOID, class_weights=(1.0, 2.0, 3.0, 4.0), dice=dice)
    outputs, targets = masks(2)[0].requires_grad_(), torch.full((2, 6, 9), VOID)
    loss = task.loss(outputs, targets)
    loss.backward()
    assert loss.item() == 0
    assert outputs.grad is not None
    assert not outputs.grad.any()
    assert float(task.score(outputs.detach(), targets)) == 0


@pytest.mark.parametrize("shape", [(2, 4, 6, 8), (2, 5, 6, 9), (2, 4), (2, 4, 9, 6)])
def test_logits_of_another_size_or_number_of_classes_are_refused_with_both(shape: tuple[int, ...]):
    message = f"for masks of shape (2, 6, 9) and num_classes=4, got shape {shape}"
    with pytest.raises(ValueError, match=re.escape(message)):
        Segmentation(4).loss(torch.zeros(shape), masks(2)[1])


def test_masks_of_bytes_are_good_for_a_split_and_refused_in_a_batch():
    targets = masks(2)[1].byte()
    Segmentation(4).check(targets)
    with pytest.raises(TypeError, match=r"masks of a batch must be torch.int64, got torch.uint8.*masks.long\(\)"):
        Segmentation(4).loss(masks(2)[0], targets)


@pytest.mark.parametrize("label", [-1, 4, VOID])
def test_a_label_outside_the_classes_is_refused_by_its_value(label: int):
    targets = masks(2)[1]
    targets[1, 3, 2] = label
    message = f"labels must be from 0 to 3 for num_classes=4, got {label}: .*ignore_index={label} to"
    with pytest.raises(ValueError, match=message):
        Segmentation(4).check(targets)
    Segmentation(4, ignore_index=label % 256).check(targets.byte())


@pytest.mark.parametrize("targets", [torch.zeros(3, 2, 2), torch.zeros(3, dtype=torch.int64)])
def test_targets_that_are_no_masks_are_refused_by_their_shape(targets: Tensor):
    with pytest.raises(ValueError, match=re.escape(f"got {targets.dtype} of shape {tuple(targets.shape)}")):
        Segmentation(4).check(targets)


@pytest.mark.parametrize("weights", [(1.0, 2.0), (1.0, 2.0, 0.0), (1.0, -2.0, 1.0), (1.0, float("nan"), 1.0)])
def test_weights_that_are_not_one_positive_number_a_class_are_refused(weights: tuple[float, ...]):
    with pytest.raises(ValueError, match=r"class_weights must be 3 positive numbers, got .*: every class has one"):
        Segmentation(3, class_weights=weights)


@pytest.mark.parametrize("dice", [-0.1, 1.1, float("nan")])
def test_a_dice_that_is_no_share_is_refused(dice: float):
    with pytest.raises(ValueError, match=f"dice must be from 0 to 1, got {dice}"):
        Segmentation(3, dice=dice)


def test_one_class_is_no_choice():
    with pytest.raises(ValueError, match=r"num_classes must be .*, got 1: a choice has at least two classes"):
        Segmentation(1)


def test_an_index_to_ignore_that_is_no_whole_number_is_refused():
    with pytest.raises(TypeError, match=r"ignore_index must be a whole number.*, got 0\.5"):
        Segmentation(3, ignore_index=0.5)  # pyright: ignore[reportArgumentType]
